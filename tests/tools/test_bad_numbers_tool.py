"""A training whose loss is no number, as a user sees it."""
import re


def test_the_tool_names_the_clips_in_one_line(nest, tiny_config, demo_root, tmp_path):
    done = nest.run(
        'tools/train.py', tiny_config, '--data-root', demo_root, '--seed', 0,
        '--cfg-options', 'model.data_preprocessor.std=[0.,0.,0.]', cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith('error: The loss of iteration 1 (epoch 1) is nan, in the '
                           "batch of 'class")
    assert re.search(r'--cfg-options custom_hooks\.\d\.on_bad_loss=skip', last)
    assert 'Traceback' not in done.stderr
    assert not list(tmp_path.rglob('*.pth'))
