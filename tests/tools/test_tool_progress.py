"""Tools on a terminal show how long they take; into a pipe they write no bar."""
from tests.terminal import run_tool_on_terminal
from tests.utils.test_progress import shows


def test_generation(nest, tmp_path):
    tool = 'tools/prepare_data.py'
    arguments = ('demo', '--num-videos-per-class', 3, '--out')
    status, shown = run_tool_on_terminal(nest, tool, *arguments, tmp_path / 'a',
                                         cwd=tmp_path)
    assert status == 0, shown
    assert shows('generating clips', 24, shown)
    done = nest.run(tool, *arguments, tmp_path / 'b', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')


def test_testing(nest, trained, tiny_config, demo_root, tmp_path):
    """The bar stands below mmengine's lines, and goes."""
    status, shown = run_tool_on_terminal(
        nest, 'tools/test.py', tiny_config, trained / 'epoch_2.pth', '--split', 1,
        '--data-root', demo_root, '--work-dir', tmp_path / 'a', '--cfg-options',
        'test_dataloader.batch_size=1', cwd=tmp_path, columns=200)
    assert status == 0, shown
    lines = [line.rsplit('\r', 1)[-1]
             for line in shown.replace('\r\n', '\n').split('\n')]
    assert not [line for line in lines if 'testing' in line and 'Epoch' in line]
    assert [line for line in lines if 'Epoch(test) [1/' in line]
    assert 'testing' not in lines[-2]
