"""``tools/analysis_tools/list_layers.py`` as a process."""
import re

TOOL = 'tools/analysis_tools/list_layers.py'
CONFIG = 'configs/reid/resnet14_tp_demo.py'


def test_table(nest, repo):
    shape = ('--shape', 4, 3, 64, 32)
    done = nest.ok(TOOL, CONFIG, *shape, '--depth', 1, cwd=repo)
    head, *rows = done.stdout.splitlines()
    assert head.split('  ')[0] == 'after'
    assert [row.split()[0] for row in rows] == [
        'conv1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4']
    assert rows[-1].split(None, 2)[1] == 'Sequential'
    assert rows[-1].endswith('frames, frames_last')

    done = nest.run(TOOL, CONFIG, *shape, '--depth', 3, '--all', cwd=repo)
    assert re.search(r'^layer1.0.relu +ReLU +runs 3 times', done.stdout, re.M)
