"""Arguments that a tool refuses: one line, status 2, and nothing is written."""
import pytest

from tests.tool_process import assert_refused

LAYERS = 'configs/reid/resnet14_tp_demo.py'
REFUSED = {
    'train.py': [
        ('no.py', 'no.py'), ('{config} --resume no.pth', 'no.pth'),
        ('{config} --strategy no.py', 'no.py'),
        ('{config} --strategy {repo}/configs/_base_/strategies/fsdp.py',
         'tools/dist_train.sh'),
        ('{config} --split 4', 'from 1 to 3'),
        ('{config} --auto-scale-lr', 'base_batch_size')],
    'test.py': [
        ('{config} no.pth', 'no.pth'), ('no.py {checkpoint}', 'no.py'),
        ('{config} {checkpoint} {checkpoint}', '--all-splits'),
        ('{config} {checkpoint} {checkpoint} --all-splits', 'got 2'),
        ('{config} x{split}.pth --all-splits', 'x1.pth'),
        ('{config} {checkpoint} --all-splits --split 1', 'not allowed with'),
        ('{config} {checkpoint} --all-splits --dump x.npz', '--dump'),
        ('{config} {checkpoint} --dump x.pkl', '.npz'),
        ('{repo}/configs/reid/resnet14_tp_demo.py {checkpoint} --dump x{split}.npz',
         '{split}'),
        ('{config} {checkpoint} --split 4', 'from 1 to 3'),
        ('{config} {checkpoint} --rerank', '--rerank'),
        ('{config} {checkpoint} --cross-dataset no.py', 'no.py')],
    'demo.py': [
        ('no.pth x.avi', 'no.pth'), ('{checkpoint}', 'video'),
        ('{checkpoint} x.avi --checkpoint y.pth', '--checkpoint'),
        ('{checkpoint} x.avi --views ten', 'ten'),
        ('{checkpoint} x.avi --topk 0', '--topk'), ('{checkpoint} no.avi', 'no.avi')],
    'deployment/export.py': [
        ('no.pth', 'no.pth'), ('{checkpoint} --checkpoint y.pth', '--checkpoint'),
        ('{checkpoint} --out a.pt2', '--format'),
        ('{checkpoint} --out a.onnx --format both', '--format'),
        ('{checkpoint} --tolerance nan', 'finite'),
        ('{checkpoint} --tolerance -1', '--tolerance'),
        ('{checkpoint} --batch-size 1', '--batch-size'),
        ('{checkpoint} --shape 3 0 8 8', '--shape'),
        ('{checkpoint} --format program --opset 18', 'program'),
        ('{checkpoint} --format tflite', 'tflite')],
    'search_gallery.py': [
        ('search g.npz q --checkpoint m --topk 0', '--topk'),
        ('search g.npz q --checkpoint m --num-workers -1', '--num-workers'),
        ('search g.npz q --checkpoint m --engine magic', 'magic'),
        ('search g.npz q --checkpoint m --faiss-index HNSW8', '--engine faiss'),
        ('search g.npz --checkpoint m', 'QUERY'),
        ('search g.npz q', '--checkpoint'), ('index m folder', '--out'),
        ('', 'COMMAND')],
    'visualizations/visualize_masks.py': [
        ('{config} {checkpoint} no.avi', 'no.avi'),
        ('{config} no.pth {video}', 'no.pth'), ('no.py {checkpoint} {video}', 'no.py'),
        ('{config} {checkpoint} {video} --layers layer9', 'layer9'),
        ('{config} {checkpoint} {video} --num-frames 0', 'got 0'),
        ('{config} {checkpoint} {video} --fps 0', 'fps'),
        ('{repo}/configs/resnext14_bert_demo.py none {video}', 'no COSAM')],
    'analysis_tools/get_flops.py': [('no.py', 'no.py')],
    'analysis_tools/list_layers.py': [
        (f'{{repo}}/{LAYERS}', '--shape'), ('no.py', 'no.py'),
        (f'{{repo}}/{LAYERS} --shape 3 64 32', 'input_shape'),
        (f'{{repo}}/{LAYERS} --depth 0', '--depth')],
    'report.py': [('gone', 'gone'), ('. --out a.pdf', 'a.pdf'),
                  ('. --samples 0', '--samples')],
}


@pytest.mark.parametrize(('tool', 'arguments', 'word'), [
    (tool, *case) for tool, cases in REFUSED.items() for case in cases])
def test_is_refused_in_one_line(nest, repo, tiny_config, trained, demo_root, tmp_path,
                                tool, arguments, word):
    words = arguments.split()
    for name, value in dict(
            config=tiny_config, checkpoint=trained / 'epoch_2.pth', repo=repo,
            video=next((demo_root / 'videos').rglob('*.avi'))).items():
        words = [one.replace(f'{{{name}}}', str(value)) for one in words]
    assert_refused(nest.run(f'tools/{tool}', *words, cwd=tmp_path), word)
    assert not list(tmp_path.iterdir())
