"""A detector as mmdetection's are made, with COSAM on several levels of its backbone.

mmdetection itself imports compiled operators, which not every installation has, so
the detector here is one of a scope of its own: a backbone with several outputs, a
pyramid, a dense head with boxes, trained with mmengine's Runner. mmdetection's FCOS
is trained by ``tests/test_example_configs.py`` where it is installed.
"""
import json

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import DATASETS, MODELS, DefaultScope, Registry
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

from cosam_mm.layers import COSAM
from tests.frame_data import write_frames

FRAMES, SIZE = 4, 64
STRIDES, CHANNELS = (8, 16, 32), (128, 256, 512)


@pytest.fixture(autouse=True, scope='module')
def _project():
    """Registries of another OpenMMLab project, as long as the tests run."""
    made = []
    for parent, classes in ((MODELS, (Detector, Pyramid, DenseHead)),
                            (DATASETS, (BoxDataset,))):
        made.append((parent, Registry(parent.name, parent=parent, scope='detector')))
        for cls in classes:
            made[-1][1].register_module(module=cls)
    yield
    for parent, _ in made:
        del parent.children['detector']


@pytest.fixture(scope='module')
def frames_dir(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp('frames'), num_clips=4,
                        clip_len=FRAMES, size=SIZE)


# -- the project -------------------------------------------------------------------


class BoxDataset(Dataset):
    """Images with a box each, in COCO's format."""

    def __init__(self, data_root):
        with open(f'{data_root}/frames.json', encoding='utf-8') as file:
            content = json.load(file)
        self.paths = [f'{data_root}/{image["file_name"]}'
                      for image in content['images']]
        self.boxes = content['annotations']

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        x, y, width, height = self.boxes[index]['bbox']
        image = torch.from_numpy(cv2.imread(self.paths[index])).permute(2, 0, 1)
        return dict(inputs=image, data_samples=BaseDataElement(
            box=(x, y, x + width, y + height),
            label=self.boxes[index]['category_id']))


class Pyramid(BaseModule):
    """All levels in the same channels, each with the coarser ones added."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)

    def forward(self, levels):
        maps = [conv(level) for conv, level in zip(self.lateral, levels)]
        for k in range(len(maps) - 1, 0, -1):
            maps[k - 1] = maps[k - 1] + nn.functional.interpolate(
                maps[k], size=maps[k - 1].shape[-2:])
        return maps


class DenseHead(BaseModule):
    """At each place of each level: scores of classes, distances to a box's sides."""

    def __init__(self, in_channels, num_classes, strides):
        super().__init__()
        self.strides, self.num_classes = strides, num_classes
        self.scores = nn.Conv2d(in_channels, num_classes, 3, padding=1)
        self.sides = nn.Conv2d(in_channels, 4, 3, padding=1)

    def forward(self, maps):
        """[(scores (N, K, H, W), sides (N, 4, H, W)) of each level]."""
        return [(self.scores(m), self.sides(m).exp() * s)
                for m, s in zip(maps, self.strides)]

    def loss(self, maps, samples):
        boxes = torch.tensor([sample.box for sample in samples]).float()
        labels = torch.tensor([sample.label for sample in samples])
        losses = dict(loss_cls=0., loss_box=0.)
        for (scores, sides), stride in zip(self(maps), self.strides):
            centres = [stride * (torch.arange(n) + 0.5) for n in scores.shape[-2:]]
            y, x = torch.meshgrid(*centres, indexing='ij')
            x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
            wanted = torch.stack([x - x1, y - y1, x2 - x, y2 - y], 1)  # (N, 4, H, W)
            inside = (wanted > 0).all(1)                               # (N, H, W)
            classes = nn.functional.one_hot(labels, self.num_classes)[..., None, None]
            losses['loss_cls'] += nn.functional.binary_cross_entropy_with_logits(
                scores, classes * inside[:, None].float())
            error = (sides - wanted).abs().mean(1)[inside]
            losses['loss_box'] += error.sum() / inside.sum().clamp(min=1) / stride
        return losses


class Detector(BaseModel):
    """Backbone, neck and dense head, as mmdetection's one-stage detectors."""

    def __init__(self, backbone, neck, bbox_head, data_preprocessor=None):
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.bbox_head = MODELS.build(bbox_head)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        maps = self.neck(self.backbone(inputs))
        if mode == 'loss':
            return self.bbox_head.loss(maps, data_samples)
        return self.bbox_head(maps)


# -- its config --------------------------------------------------------------------


def bare_backbone():
    """A backbone of a third project, with an output for each level."""
    pytest.importorskip('mmaction')
    return dict(type='mmaction.ResNet', depth=18, pretrained=None, norm_eval=False,
                out_indices=(1, 2, 3))


def plugged(backbone, *places, frames=FRAMES, **keys):
    return dict(type='PluggedBackbone', backbone=backbone,
                input_shape=(frames, 3, SIZE, SIZE),
                plugins=[dict(cfg=dict(type='COSAM'), after=place, **keys)
                         for place in places])


def model_config(backbone):
    return dict(
        type='Detector', backbone=backbone,
        neck=dict(type='Pyramid', in_channels=CHANNELS, out_channels=16),
        bbox_head=dict(type='DenseHead', in_channels=16, num_classes=2,
                       strides=STRIDES),
        data_preprocessor=dict(type='ImgDataPreprocessor', mean=[40.] * 3,
                               std=[60.] * 3))


def build(backbone):
    with DefaultScope.overwrite_default_scope('detector'):
        return MODELS.build(model_config(backbone))


def config(backbone, frames_dir, work_dir):
    made = Config(dict(
        default_scope='detector',
        custom_imports=dict(imports=['cosam_mm'],
                            allow_failed_imports=False),
        model=model_config(backbone),
        train_dataloader=dict(
            batch_size=2 * FRAMES, num_workers=0,
            sampler=dict(type='ClipSampler', clip_len=FRAMES),
            dataset=dict(type='BoxDataset', data_root=str(frames_dir))),
        train_cfg=dict(by_epoch=True, max_epochs=6),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=3e-3)),
        randomness=dict(seed=0), work_dir=str(work_dir)))
    return Config.fromstring(made.pretty_text, '.py')


# -- tests -------------------------------------------------------------------------


def test_detector_trains_from_the_checkpoint_of_the_bare_one(frames_dir, tmp_path):
    torch.manual_seed(0)
    bare = build(bare_backbone())
    torch.save(dict(state_dict=bare.state_dict()), tmp_path / 'bare.pth')

    cfg = config(plugged(bare_backbone(), 'layer3', 'layer4'), frames_dir,
                 tmp_path / 'work')
    cfg.load_from = str(tmp_path / 'bare.pth')
    runner = Runner.from_cfg(cfg)
    cosams = [m for m in runner.model.modules() if isinstance(m, COSAM)]
    assert [m.spatial_size for m in cosams] == [(4, 4), (2, 2)]
    assert [m.in_channels for m in cosams] == [256, 512]

    missing, unexpected = runner.model.load_state_dict(bare.state_dict(), strict=False)
    assert missing
    assert all(key.startswith('backbone.plugins.') for key in missing)
    assert not unexpected

    runner.load_or_resume()
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    for name, parameter in bare.named_parameters():
        assert torch.equal(before[name], parameter), name
    runner.train()
    still = {name for name, p in runner.model.named_parameters()
             if torch.equal(p, before[name])}
    # Batch norms follow these and take any constant away.
    assert all(name.endswith(('reduction.0.bias', 'summary.0.bias'))
               for name in still), still
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]


def test_levels_in_front_of_cosam_are_those_of_the_bare_backbone():
    torch.manual_seed(0)
    bare = MODELS.build(bare_backbone())
    ours = MODELS.build(plugged(bare_backbone(), 'layer3'))
    ours.load_state_dict(bare.state_dict(), strict=False)
    bare.eval(), ours.eval()
    frames = torch.rand(2 * FRAMES, 3, SIZE, SIZE)
    with torch.no_grad():
        whole, without = ours(frames), bare(frames)
        alone = ours(frames[FRAMES:])
    assert [level.shape for level in whole] == [level.shape for level in without]
    assert [torch.equal(a, b) for a, b in zip(whole, without)] == [True, False, False]
    for level, part in zip(whole, alone):
        torch.testing.assert_close(level[FRAMES:], part, rtol=1e-4, atol=1e-6)


def test_images_of_any_size():
    """As in mmdetection's multi-scale training, with a module that takes any."""
    cfg = plugged(bare_backbone(), 'layer3')
    cfg['plugins'][0]['cfg']['any_size'] = True
    model = MODELS.build(cfg).eval()
    for height, width in ((64, 64), (96, 64), (64, 160)):
        with torch.no_grad():
            levels = model(torch.rand(FRAMES, 3, height, width))
        assert [tuple(level.shape[-2:]) for level in levels] == [
            (height // stride, width // stride) for stride in STRIDES]
