"""COSAM for plain PyTorch: one import, no OpenMMLab project, no registry, no config."""
import subprocess
import sys

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


# Measured against what mmengine itself imports for a module and a registry. Python 3.9
# does not list the modules of its library.
IMPORT = '''
import sys, torch, numpy, mmengine, mmengine.model, mmengine.registry, mmengine.runner
before = set(sys.modules)
import cosam_mm.layers
from importlib.util import find_spec as spec_of
assert not any(map(spec_of, ('mmcv', 'mmaction', 'transformers', 'timm')))
added = {name.split('.')[0] for name in set(sys.modules) - before} - {
    name.split('.')[0] for name in before}
if sys.version_info >= (3, 10):
    assert added - set(sys.stdlib_module_names) == {'cosam_mm'}, added
'''


def test_plain_network_trains_saves_loads_and_is_copied(tmp_path):
    """And the import brings torch and mmengine and nothing else."""
    code = REFUSE + IMPORT + NETWORK + f'''
import copy
weights, whole = {str(tmp_path / 'net.pt')!r}, {str(tmp_path / 'whole.pt')!r}
# The class is which half of the image is bright in all frames but one.
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
net.eval()
torch.save(net.state_dict(), weights)
torch.save(net, whole)
loaded = Net().eval()
loaded.load_state_dict(torch.load(weights, weights_only=True))
with torch.no_grad():
    for other in (loaded, torch.load(whole, weights_only=False), copy.deepcopy(net)):
        assert torch.equal(net(clips), other(clips))
assert losses[-1] < 0.8 * losses[0], losses
'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
