"""Configs for other projects: each is built, shrunk, and trained with Runner."""
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from cosam_mm.layers import COSAM
from cosam_mm.utils.config import set_data_root
from tests.action_data import flat_pipeline, write_data_root
from tests.frame_data import write_frames

CONFIG_DIR = Path(__file__).resolve().parents[1] / 'configs'
EXAMPLES = sorted((CONFIG_DIR / 'examples').glob('*.py'))
SIZE = 64


def shrink(name, tmp_path):
    """An example for small images and one epoch, in one process."""
    cfg = Config.fromfile(CONFIG_DIR / 'examples' / f'{name}.py')
    cfg.work_dir = str(tmp_path / 'work')
    backbone = cfg.model.backbone
    backbone.input_shape = (*backbone.input_shape[:2], SIZE, SIZE)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        for step in flat_pipeline(loader):
            if step.type == 'Resize':
                step.scale = (SIZE, SIZE)
            for key in ('crop_size', 'input_size', 'size'):
                if key in step:
                    step[key] = SIZE
    cfg.train_cfg.max_epochs = 1
    return cfg


def use_frames(cfg, root, name):
    """Point a config of frames to those of :func:`write_frames`."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(data_root=str(root), ann_file=name)


def train(cfg):
    """Train and validate; the runner, and what moved after weights were drawn."""
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    before = {k: p.detach().clone() for k, p in runner.model.named_parameters()}
    runner.train()
    moved = {k for k, p in runner.model.named_parameters()
             if not torch.equal(p, before[k])}
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    assert 0 < runner.message_hub.get_scalar('train/loss').current() < 100
    return runner, moved


def plugin_parameters(model):
    """Names of the parameters that a step of training moves."""
    return {k for k, _ in model.named_parameters() if '.plugins.' in k
            # Batch norms follow these and take any constant away.
            and not k.endswith(('reduction.0.bias', 'summary.0.bias'))}


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_complete(path):
    """Each is trained below."""
    assert path.stem in ('mmdet_fcos_r50_cosam_frames', 'timm_regnety_cosam_hmdb51',
                         'mmpretrain_seresnet50_cosam_frames')
    assert len(path.read_text(encoding='utf-8').splitlines()) <= 15
    cfg = Config.fromfile(path)
    for key in ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator',
                'train_cfg', 'val_cfg', 'optim_wrapper', 'param_scheduler',
                'default_scope', 'custom_imports'):
        assert cfg.get(key) is not None, key
    assert cfg.model.backbone.type == 'PluggedBackbone'
    frames = cfg.model.backbone.input_shape[0]
    assert cfg.get('clip_len', frames) == frames


def test_mmpretrain_example_trains(tmp_path):
    pytest.importorskip('mmpretrain')
    cfg = shrink('mmpretrain_seresnet50_cosam_frames', tmp_path)
    cfg.model.backbone.backbone.update(stem_channels=8, base_channels=8)
    cfg.model.head.in_channels = 256
    use_frames(cfg, write_frames(tmp_path / 'frames', 16, cfg.clip_len, SIZE),
               'frames.txt')
    runner, moved = train(cfg)
    assert runner.iter == 2
    assert plugin_parameters(runner.model) <= moved
    assert 0 <= runner.message_hub.get_scalar('val/accuracy/top1').current() <= 100


def test_timm_example_trains(tmp_path):
    pytest.importorskip('timm')
    pytest.importorskip('mmaction')
    cfg = shrink('timm_regnety_cosam_hmdb51', tmp_path)
    cfg.model.backbone.backbone.update(type='timm.regnety_002', pretrained=False)
    cfg.model.cls_head.in_channels = 368
    set_data_root(cfg, write_data_root(tmp_path / 'data', 'hmdb51', 51, num_clips=2))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.batch_size = 2
        loader.dataset.indices = 4
    cfg.optim_wrapper.accumulative_counts = 1
    cfg.default_hooks.checkpoint = cfg.visualizer = None
    runner, moved = train(cfg)
    assert plugin_parameters(runner.model) <= moved


def test_mmdet_example_trains(tmp_path):
    """In a process of its own: see :func:`import_mmdet_without_compiled_operators`."""
    if importlib.util.find_spec('mmdet') is None:
        pytest.skip('mmdet is not installed')
    root = write_frames(tmp_path / 'frames', 4, 4, SIZE)
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c',
         'import sys; from tests import test_example_configs as t; '
         't.train_mmdet_example(sys.argv[1], sys.argv[2])', str(root), str(tmp_path)],
        capture_output=True, text=True, timeout=600, cwd=CONFIG_DIR.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == 'trained'


def import_mmdet_without_compiled_operators():
    """mmcv-lite has the Python part of mmcv's operators, which mmdet imports.

    FCOS trains without the compiled part; an operator that is called is refused.
    """
    def refuse(*args, **kwargs):
        raise NotImplementedError('mmcv-lite has no compiled operators.')

    class Operators(ModuleType):
        def __getattr__(self, name):
            if name.startswith('__'):
                raise AttributeError(name)
            return refuse

    if importlib.util.find_spec('mmcv._ext') is None:
        sys.modules['mmcv._ext'] = Operators('mmcv._ext')
    import mmdet.models  # noqa: F401
    if isinstance(sys.modules['mmcv._ext'], Operators):
        del sys.modules['mmcv._ext']  # whoever looks for a full mmcv finds none


def train_mmdet_example(root, work_dir):
    """What :func:`test_mmdet_example_trains` runs."""
    import cosam_mm  # noqa: F401
    import_mmdet_without_compiled_operators()
    cfg = shrink('mmdet_fcos_r50_cosam_frames', Path(work_dir))
    backbone = cfg.model.backbone.backbone
    backbone.update(depth=18, base_channels=8)
    cfg.model.neck.update(in_channels=[16, 32, 64], out_channels=32)
    cfg.model.bbox_head.update(in_channels=32, feat_channels=32)
    use_frames(cfg, root, 'frames.json')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.metainfo = dict(classes=('blue', 'red'))
    # Boxes are thinned out by an operator that mmcv-lite does not have.
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner, moved = train(cfg)
    assert runner.iter == 2
    assert plugin_parameters(runner.model) <= moved
    cosams = [m for m in runner.model.modules() if isinstance(m, COSAM)]
    assert [m.spatial_size for m in cosams] == [(4, 4), (2, 2)]

    from mmengine.registry import MODELS, DefaultScope
    with DefaultScope.overwrite_default_scope('mmdet'):
        bare = MODELS.build({**cfg.model, 'backbone': backbone})
    missing, unexpected = runner.model.load_state_dict(bare.state_dict(), strict=False)
    assert missing
    assert all(key.startswith('backbone.plugins.') for key in missing)
    assert not unexpected
    print('trained')
