"""COSAM for plain PyTorch: one import, no OpenMMLab project, no registry, no config."""
import subprocess
import sys

import pytest

# What a user of plain PyTorch may well not have, and need not have.
OTHERS = ('albumentations', 'decord', 'mmaction', 'mmcv', 'mmdet', 'mmpretrain', 'onnx',
          'onnxruntime', 'onnxscript', 'scipy', 'timm', 'torchvision', 'tqdm',
          'transformers')

# As if they were not installed.
REFUSE = f'''
from importlib.machinery import PathFinder
find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: (
    None if name.split('.')[0] in {OTHERS} else find_spec(name, *args))
'''

NETWORK = '''
import torch
from torch import nn
from cosam_mm.layers import COSAM

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
        self.cosam = COSAM(in_channels=16, num_frames=4, spatial_size=(8, 6))
        self.head = nn.Linear(16, 2)

    def forward(self, clips):                       # (N, T, 3, 16, 12)
        maps = self.stem(clips.flatten(0, 1))       # (N*T, 16, 8, 6)
        maps = self.cosam(maps)
        pooled = maps.mean((2, 3)).unflatten(0, clips.shape[:2])
        return self.head(pooled.mean(1))            # (N, 2)

torch.manual_seed(0)
net = Net()
'''


def run_python(code):
    """Output lines of ``code`` in a fresh interpreter."""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_import_brings_torch_and_mmengine_and_nothing_else():
    """Measured against what mmengine itself imports for a module and a registry."""
    if sys.version_info < (3, 10):
        pytest.skip('Python 3.9 does not list the modules of its library')
    added = run_python(REFUSE + '''
import sys, torch, numpy, mmengine, mmengine.model, mmengine.registry, mmengine.runner
before = set(sys.modules)
import cosam_mm.layers
from importlib.util import find_spec as spec_of
assert not any(map(spec_of, ('mmcv', 'mmaction', 'transformers', 'timm')))
print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}
              - set(sys.stdlib_module_names)
              - {name.split('.')[0] for name in before}))
''')
    assert added == ['cosam_mm']


def test_plain_network_trains_saves_and_loads(tmp_path):
    losses = run_python(REFUSE + NETWORK + f'''
path = {str(tmp_path / 'net.pt')!r}
# The class is which half of the picture is bright in all frames but one.
labels = torch.arange(8) % 2
clips = torch.rand(8, 4, 3, 16, 12) * 0.3
for clip, label in zip(clips, labels):
    clip[1:, :, :, 6 * int(label):6 * int(label) + 6] += 0.7
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
losses = []
for step in range(15):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(net(clips), labels)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    optimizer.step()
    losses.append(loss.item())
torch.save(net.state_dict(), path)

other = Net()
other.load_state_dict(torch.load(path, weights_only=True))
net.eval(), other.eval()
with torch.no_grad():
    assert torch.equal(net(clips), other(clips))
print(losses[0], losses[-1])
''')
    first, last = map(float, losses[-1].split())
    assert last < 0.8 * first


def test_whole_network_survives_pickling_and_copying(tmp_path):
    run_python(REFUSE + NETWORK + f'''
import copy
clips = torch.rand(2, 4, 3, 16, 12)
net.eval()
torch.save(net, {str(tmp_path / 'whole.pt')!r})
loaded = torch.load({str(tmp_path / 'whole.pt')!r}, weights_only=False)
with torch.no_grad():
    assert torch.equal(loaded(clips), net(clips))
    assert torch.equal(copy.deepcopy(net)(clips), net(clips))
''')


def test_wrong_use_names_the_choices_without_a_registry():
    """(arguments of COSAM, shape of its input, parts of the answer)."""
    cases = [
        ('16, 1, (8, 6)', None, 'num_frames must be at least 2, got 1'),
        ('16, 4, (8, 6, 2)', None, 'spatial_size must be (H, W) or an int'),
        ('16, 4, (8, 6)', (4, 3, 16), '(N, C, T, H, W) or (N*T, C, H, W)'),
        ('16, 4, (8, 6)', (6, 16, 8, 6), 'no multiple of 4'),
        ('16, 4, (8, 6)', (1, 16, 1, 8, 6), 'sample clips of 2 frames or more'),
        ('16, 4, (8, 6)', (4, 12, 8, 6), 'set in_channels=12'),
    ]
    code = REFUSE + 'import torch\nfrom cosam_mm.layers import COSAM\n'
    for arguments, shape, _ in cases:
        call = '' if shape is None else f'(torch.rand{shape})'
        code += f"""
try:
    COSAM({arguments}){call}
except ValueError as error:
    print(str(error).replace('\\n', ' '))
else:
    print('taken')
"""
    answers = run_python(code)
    assert len(answers) == len(cases)
    for answer, (_, _, part) in zip(answers, cases):
        assert part in answer
