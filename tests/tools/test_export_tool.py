"""``tools/deployment/export.py`` as a process, and the examples of its page."""
import json
import re
import shutil
import subprocess
import sys

import cv2
import decord
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from cosam_mm import TrackletEncoder
from cosam_mm.apis.export import METADATA_NAME
from tests import gallery_data
from tests.tool_process import ENVIRONMENT, assert_refused

TOOL = 'tools/deployment/export.py'
CLIP = 'class 1/clip (a&b) 1'
HOSTILE = "it's $(touch harm); `x` %s"


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def read_json(path):
    return json.loads(path.read_text(encoding='utf-8'))


def metadata_of(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider'])
    return json.loads(session.get_modelmeta().custom_metadata_map[METADATA_NAME])


@pytest.fixture(scope='module')
def onnx_packages():
    """Skips without the packages of cosam_mm[deploy]."""
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name)


@pytest.fixture(scope='module')
def exported(onnx_packages, nest, trained, tmp_path_factory):
    """(process, folder): both formats of the trained checkpoint, beside it."""
    folder = tmp_path_factory.mktemp('exported')
    shutil.copy(trained / 'epoch_2.pth', folder / f'{HOSTILE}.pth')
    done = nest.ok(TOOL, f'{HOSTILE}.pth', '--format', 'both', cwd=folder)
    return done, folder


def test_checkpoint_alone(exported):
    """Config and class names come out of it, and the files stand beside it."""
    done, folder = exported
    assert names_in(folder) == {HOSTILE + suffix for suffix in (
        '.pth', '.onnx', '.onnx.json', '.pt2', '.pt2.json')}
    for line in (
            'input          frames: uint8 (N, 3, 32, 56, 56)',
            '               N clips, C channels, T frames, H height, W width; RGB',
            'normalisation  inside of the file: (pixel - mean) / std,',
            '               mean [127.5, 127.5, 127.5], std [64.0, 64.0, 64.0]',
            'output         scores: float32 (N, 8)',
            "classes        8: 'class 0', 'class 1', 'c2'"):
        assert f'\n{line}' in done.stdout
    found = re.findall(r'(\.\w+): \d+\.\d MB, max relative error (\d\.\de[-+]\d+) in '
                       'batches of 1 and 2', done.stdout)
    assert [suffix for suffix, _ in found] == ['.onnx', '.pt2']
    contract = metadata_of(folder / f'{HOSTILE}.onnx')
    assert contract['checkpoint'] == f'{HOSTILE}.pth'
    for suffix, error in found:
        sidecar = read_json(folder / f'{HOSTILE}{suffix}.json')
        assert f'{sidecar["check"]["max_relative_error"]:.1e}' == error
        assert {key: sidecar[key] for key in contract} == contract


@pytest.mark.usefixtures('onnx_packages')
def test_above_the_tolerance_nothing_is_left(nest, trained, tmp_path):
    shutil.copy(trained / 'epoch_2.pth', tmp_path / 'model.pth')
    (tmp_path / 'model.onnx').write_text('an older file')
    done = nest.run(TOOL, 'model.pth', '--tolerance', '1e-12', '--overwrite',
                    cwd=tmp_path)
    assert_refused(done, 'model.onnx', 'tolerance')
    assert names_in(tmp_path) == {'model.pth', 'model.onnx'}
    assert (tmp_path / 'model.onnx').read_text() == 'an older file'


def test_config_and_checkpoint(nest, trained, tiny_config, tmp_path):
    """A program needs no package; a float input is one that the caller normalises."""
    done = nest.ok(TOOL, tiny_config, '--checkpoint', trained / 'epoch_2.pth', '--out',
                   'new/model.pt2', '--format', 'program', '--normalized-input',
                   '--batch-size', 3, cwd=tmp_path)
    assert 'input          frames: float32 (N, 3, 32, 56, 56)\n' in done.stdout
    assert 'normalisation  BEFORE the file, by you' in done.stdout
    assert 'new/model.pt2: ' in done.stdout
    assert 'in batches of 1 and 3' in done.stdout
    assert names_in(tmp_path / 'new') == {'model.pt2', 'model.pt2.json'}

    again = ('new/model', '--format', 'program')
    done = nest.run(TOOL, trained / 'epoch_2.pth', '--out', *again, cwd=tmp_path)
    assert_refused(done, 'new/model.pt2', '--overwrite')


def test_config_alone_and_a_wrong_shape(nest, training, tiny_config, tmp_path):
    """The newest best checkpoint is found; its COSAM does not take such a shape."""
    done = nest.run(TOOL, tiny_config, '--out', tmp_path / 'm', '--format', 'program',
                    '--shape', 3, 32, 96, 96, cwd=training[1])
    assert re.match(
        r'checkpoint     work_dirs/tiny/split1/best_acc_top1_epoch_\d\.pth\n',
        done.stdout)
    assert_refused(done, '4x4', '6x6')
    assert names_in(tmp_path) == set()
    done = nest.run(TOOL, tiny_config, cwd=tmp_path)
    assert_refused(done, 'work_dirs/tiny')


def snippet(repo, title):
    """The first Python block below a heading of the page."""
    page = (repo / 'docs' / 'deployment.md').read_text(encoding='utf-8')
    section = page.split(f'## {title}\n')[1].split('\n## ')[0]
    return re.search(r'```python\n(.*?)```', section, re.S).group(1)


def run_snippet(code, cwd, forbidden=''):
    """What a block prints in a process of its own, which imports nothing forbidden."""
    check = f'\nimport sys\nassert not set({forbidden.split()!r}) & set(sys.modules)\n'
    done = subprocess.run([sys.executable, '-c', code + check], cwd=cwd, text=True,
                          capture_output=True, timeout=240, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_example_of_actions(exported, repo, nest, demo_root, tmp_path):
    """numpy and ONNX Runtime name the classes that tools/demo.py names."""
    _, folder = exported
    shutil.copy(folder / f'{HOSTILE}.onnx', tmp_path / 'model.onnx')
    video = demo_root / 'videos' / f'{CLIP}.avi'
    reader = decord.VideoReader(str(video))
    np.save(tmp_path / 'video.npy', reader.get_batch(range(len(reader))).asnumpy())
    code = snippet(repo, 'Actions with numpy and ONNX Runtime')
    two_views = '[clip, clip[:, :, ::-1]]'
    assert two_views in code
    # The demo config tests one view.
    printed = run_snippet(code.replace(two_views, '[clip]'), tmp_path,
                          'torch mmengine cosam_mm')
    done = nest.ok('tools/demo.py', folder / f'{HOSTILE}.pth', video, cwd=tmp_path)
    rows = [[(name, float(share)) for share, name in
             re.findall(r'^ +([\d.]+)%  (.*)$', text, re.M)]
            for text in (printed, done.stdout)]
    assert len(rows[0]) == 5
    assert [name for name, _ in rows[0]] == [name for name, _ in rows[1]]
    shares = [[share for _, share in row] for row in rows]
    np.testing.assert_allclose(*shares, atol=0.02)

    mirrored = run_snippet(code, tmp_path)
    assert mirrored != printed
    assert mirrored.count('%') == 5


def test_a_model_for_one_length_is_refused_others(nest, trained, tmp_path):
    done = nest.run(TOOL, trained / 'epoch_2.pth', '--format', 'program', '--out', 'm',
                    '--dynamic-frames', cwd=tmp_path)
    assert_refused(done, 'any_size')
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('onnx_packages')
def test_example_of_reid(nest, repo, tmp_path):
    """Distances of tracklets of 7 and 10 images, in clips of 4."""
    checkpoint = gallery_data.write_checkpoint(
        tmp_path / 'reid.pth', gallery_data.reid_config())
    done = nest.ok(TOOL, checkpoint, cwd=tmp_path)
    assert 'input          frames: uint8 (N, 4, 3, 32, 16)\n' in done.stdout
    assert 'by euclidean distance' in done.stdout
    contract = metadata_of(tmp_path / 'reid.onnx')
    assert contract['input']['layout'] == 'NTCHW'
    for seed, (name, count) in enumerate((('a', 7), ('b', 10))):
        folder = gallery_data.write_tracklet(tmp_path / name, count, seed)
        images = [cv2.imread(f'{folder}/{k}.jpg')[..., ::-1] for k in range(count)]
        np.save(tmp_path / f'{name}.npy', np.stack(images))
    code = snippet(repo, 'Re-identification with numpy and ONNX Runtime')
    printed = run_snippet(code, tmp_path, 'torch mmengine cosam_mm')
    encoder = TrackletEncoder(checkpoint, device='cpu')
    a, b = (encoder.encode(str(tmp_path / name)) for name in 'ab')
    distance = float(re.fullmatch(r'distance (\d+\.\d{6})\n', printed).group(1))
    assert distance == pytest.approx(encoder.distance(a, b), rel=1e-4, abs=2e-6)


def test_example_of_a_program(exported, repo, tmp_path):
    shutil.copy(exported[1] / f'{HOSTILE}.pt2', tmp_path / 'model.pt2')
    printed = run_snippet(snippet(repo, 'A program of torch.export'), tmp_path,
                          'mmengine cosam_mm')
    assert printed == '(4, 8)\n'


@pytest.mark.slow
@pytest.mark.usefixtures('onnx_packages')
@pytest.mark.parametrize('name', [
    'resnext101_cosam_bert_hmdb51', 'i3d_cosam_bert_hmdb51',
    'reid/se_resnet50_cosam45_tp_mars'])
def test_full_size(repo, tmp_path, name):
    """A shipped config with random weights, in both formats."""
    config = Config.fromfile(repo / 'configs' / f'{name}.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    used = sum(value.numel() * 4 for key, value in model.named_parameters()
               if not key.startswith('head.'))
    del model
    done = subprocess.run(
        [sys.executable, str(repo / TOOL), str(repo / 'configs' / f'{name}.py'),
         '--checkpoint', 'model.pth', '--format', 'both'],
        cwd=tmp_path, capture_output=True, text=True, timeout=900, env=ENVIRONMENT)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    for suffix in ('.onnx', '.pt2'):
        path = tmp_path / f'model{suffix}'
        assert read_json(tmp_path / f'model{suffix}.json')['check'][
            'max_relative_error'] <= 1e-4
        assert 0.95 * used < path.stat().st_size < 1.05 * used + 2**21
    assert not (tmp_path / 'model.onnx.data').exists()
