"""``tools/analysis_tools/get_flops.py`` as a process."""
import re

TOOL = 'tools/analysis_tools/get_flops.py'


def test_figures_of_the_paper(nest, repo):
    """48.21 M and 38.49 G stand in the paper for 101 classes."""
    done = nest.ok(TOOL, 'configs/resnext101_cosam_bert_ucf101.py', cwd=repo)
    assert done.stderr == ''
    clip, parameters, flops = done.stdout.splitlines()
    assert clip == 'clip        3 x 64 x 112 x 112 (C x T x H x W)'
    assert parameters == 'parameters  48.21 M (48,214,246)'
    assert re.fullmatch(r'FLOPs       38\.(39|4\d|5\d) G \(a multiply-add counts one\)',
                        flops)


def test_shape_table_and_options(nest, tiny_config, tmp_path):
    arguments = (tiny_config, '--shape', 3, 16, 64, 64, '--table', '--cfg-options',
                 'model.cls_head.num_tokens=1')
    plugin = 'model.backbone.plugins.0.cfg.num_frames='
    done = nest.ok(TOOL, *arguments, f'{plugin}2', cwd=tmp_path)
    assert 'clip        3 x 16 x 64 x 64 (C x T x H x W)' in done.stdout
    assert 'cls_head.temporal' in done.stdout

    done = nest.run(TOOL, *arguments, f'{plugin}4', cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r'^error: COSAM was built for 4 frames, got 2 ', done.stderr, re.M)
    assert 'Traceback' not in done.stderr
