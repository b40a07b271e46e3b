"""``tools/analysis_tools/list_places.py`` as a process."""
import re

TOOL = 'tools/analysis_tools/list_places.py'
CONFIG = 'configs/reid/resnet14_tp_demo.py'


def test_table(nest, repo):
    shape = ('--shape', 4, 3, 64, 32)
    done = nest.run(TOOL, CONFIG, *shape, '--depth', 1, cwd=repo)
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split('  ')[0] == 'after'
    assert [row.split()[0] for row in rows] == [
        'conv1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4']
    assert rows[-1].split(None, 2)[1] == 'Sequential'
    assert rows[-1].endswith('frames, frames_last')
    assert 'layer1.0.relu' not in done.stdout

    done = nest.run(TOOL, CONFIG, *shape, '--depth', 3, '--all', cwd=repo)
    assert re.search(r'^layer1.0.relu +ReLU +runs 3 times in a forward pass$',
                     done.stdout, re.M)


def test_wrong_arguments(nest, repo):
    done = nest.run(TOOL, CONFIG, cwd=repo)
    assert done.returncode == 2
    assert 'error: This config does not tell what a clip looks like' in done.stderr
    assert 'Traceback' not in done.stderr
    done = nest.run(TOOL, CONFIG, '--shape', 3, 64, 32, cwd=repo)
    assert done.returncode == 2
    assert 'error: input_shape is that of one clip' in done.stderr
    done = nest.run(TOOL, 'no.py', cwd=repo)
    assert done.returncode == 2
    assert 'there is no config no.py' in done.stderr
    done = nest.run(TOOL, CONFIG, '--depth', 0, cwd=repo)
    assert '--depth must be at least 1, got 0' in done.stderr
