"""What the backbones share: plugins, freezing, checkpointing, and residual networks.

A backbone is a sequence of named steps. After each step the plugins configured
for it run, in mm's plugin style::

    plugins=[dict(cfg=dict(type='COSAM', num_frames=8, spatial_size=(7, 7)),
                  position='after_layer3')]

Plugins live under ``plugins.<position>.<index>``, apart from the backbone's own
modules, so that a checkpoint of the bare backbone keeps fitting.

Residual networks are a stem and four layers of bottlenecks (He et al., *Deep Residual
Learning for Image Recognition*, CVPR 2016). Parameter names are torchvision's:
``layer1.0.conv1``, ``layer1.0.downsample.0``.
"""
from collections.abc import Sequence
from typing import Callable, Optional

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ['Block', 'Bottleneck', 'ResidualBackbone', 'SteppedBackbone',
           'check_feature_reduction']


class Block(nn.Module):
    """A part of a backbone that can be computed again instead of remembered.

    A subclass defines ``compute(x)``. With ``with_cp`` set, its activations are
    dropped after the forward pass and computed again in the backward pass.
    """

    with_cp = False

    def forward(self, x: Tensor) -> Tensor:
        """``compute(x)``, through a checkpoint where that saves memory."""
        if self.with_cp and x.requires_grad:
            return checkpoint(self.compute, x, use_reentrant=False)
        return self.compute(x)


class SteppedBackbone(BaseModule):
    """A backbone that runs named steps, with plugins after any of them.

    A subclass defines its modules and then calls :meth:`_finish` with the steps
    in order.

    Args:
        plugins: Modules to insert, each ``dict(cfg=dict(type=...),
            position='after_<step>')``. ``in_channels`` is filled in where the
            cfg does not name it.
        frozen_stages: Stages to freeze: 0 the stem, k the stem and the first k
            stages, -1 none. Plugins stay trainable: they are new parts, which
            no checkpoint of the backbone holds.
        norm_eval: Whether the backbone's batch norms keep their running
            statistics in training. Those of plugins keep learning theirs.
        with_cp: Whether to trade time for memory in training: each
            :class:`Block` that is a step, or directly inside one, is
            checkpointed.
        init_cfg: As in any mmengine module. Weights are initialised when the backbone
            is built, Kaiming for convolutions and 1 for norms; what ``init_cfg`` does
            comes on top. So a layer that a ``Pretrained`` checkpoint does not hold
            keeps that initialisation.
    """

    def __init__(self, plugins: Optional[Sequence[dict]] = None,
                 frozen_stages: int = -1, norm_eval: bool = False,
                 with_cp: bool = False, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self._plugin_cfgs = list(plugins or ())
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    def _finish(self, steps: Sequence[tuple[str, int]],
                stages: Sequence[Sequence[str]]) -> None:
        """Initialise the weights, build the plugins and freeze stages.

        Plugins are built last and initialise their own weights.

        Args:
            steps: (name, output channels) of each step in order.
            stages: Names of the modules of each stage, the stem's first.
        """
        last_stage = len(stages) - 1
        if not -1 <= self.frozen_stages <= last_stage:
            raise ValueError(f'frozen_stages must be between -1 and {last_stage}, '
                             f'got {self.frozen_stages}.')
        self.apply(_initialise)
        self.steps = tuple(name for name, _ in steps)
        self.out_channels = steps[-1][1]
        self._stages = stages
        self.plugins = _build_plugins(
            self._plugin_cfgs,
            {f'after_{name}': channels for name, channels in steps})
        for name in self.steps:
            step = getattr(self, name, None)
            for block in step if isinstance(step, nn.Sequential) else (step,):
                if isinstance(block, Block):
                    block.with_cp = self.with_cp
        self._freeze_stages()

    def _plug(self, x: Tensor, step: str) -> Tensor:
        """Run the plugins that stand after ``step``."""
        position = f'after_{step}'
        return self.plugins[position](x) if position in self.plugins else x

    def _freeze_stages(self) -> None:
        for stage in self._stages[:self.frozen_stages + 1]:
            for name in stage:
                getattr(self, name).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> 'SteppedBackbone':
        """Set the mode; frozen stages and fixed norms stay in evaluation."""
        super().train(mode)
        if mode:
            self._freeze_stages()
        if mode and self.norm_eval:
            for name, module in self.named_modules():
                if isinstance(module, _BatchNorm) and not name.startswith('plugins.'):
                    module.eval()
        return self


def check_feature_reduction(mode: Optional[str]) -> None:
    """Raise ``ValueError`` unless ``mode`` names a reduction or is None."""
    if mode not in (None, 'FRMB', 'FRAB'):
        raise ValueError("feature_reduction must be 'FRMB', 'FRAB' or None, got "
                         f'{mode!r}.')


def _initialise(module: nn.Module) -> None:
    """Kaiming for a convolution, 1 and 0 for a norm."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, _BatchNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def _build_plugins(plugins: Sequence[dict],
                   channels: dict[str, int]) -> nn.ModuleDict:
    """Build plugins by position, of the channels at every position there is."""
    built = nn.ModuleDict()
    for plugin in plugins:
        if set(plugin) != {'cfg', 'position'}:
            raise ValueError(f'A plugin has the keys cfg and position, got '
                             f'{sorted(plugin)}.')
        position = plugin['position']
        if position not in channels:
            raise ValueError(f'There is no position {position!r}; this backbone '
                             f'has {", ".join(channels)}.')
        cfg = {'in_channels': channels[position], **plugin['cfg']}
        if position not in built:
            built[position] = nn.Sequential()
        built[position].append(MODELS.build(cfg))
    return built


# -- residual networks -----------------------------------------------------------


class Bottleneck(Block):
    """Convolution with a window of 1, of 3, of 1, plus the shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, ``expansion`` times those inside.
        stride: Of the block, in the convolution named ``strided``.
        project: Whether the shortcut is a convolution and a norm. It must be
            where the input does not have the shape of the output.
        groups: Groups of the middle convolution.
        norm1: Makes the first norm of a number of channels; default: ``norm``.
    """

    expansion = 4
    strided = 'conv2'  # or conv1
    convolution, norm = nn.Conv2d, nn.BatchNorm2d

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1,
                 project: bool = False, groups: int = 1,
                 norm1: Optional[Callable[[int], nn.Module]] = None) -> None:
        super().__init__()
        planes = out_channels // self.expansion
        strides = {'conv1': 1, 'conv2': 1, self.strided: stride}
        self.conv1 = self.convolution(in_channels, planes, 1, strides['conv1'],
                                      bias=False)
        self.bn1 = (norm1 or self.norm)(planes)
        self.conv2 = self.convolution(planes, planes, 3, strides['conv2'], padding=1,
                                      groups=groups, bias=False)
        self.bn2 = self.norm(planes)
        self.conv3 = self.convolution(planes, out_channels, 1, bias=False)
        self.bn3 = self.norm(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            self.convolution(in_channels, out_channels, 1, stride, bias=False),
            self.norm(out_channels)) if project else None

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut: (M, out_channels, [T',] H', W')."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))

    def compute(self, x: Tensor) -> Tensor:
        """(M, in_channels, [T,] H, W) to (M, out_channels, [T',] H', W')."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.residual(x) + shortcut)


class ResidualBackbone(SteppedBackbone):
    """A stem and four layers of bottlenecks; positions for plugins after each.

    Args:
        depth: Key of ``arch_settings``.
        settings: Those of :class:`SteppedBackbone`.

    Raises:
        ValueError: There is no such depth.
    """

    # Depth -> bottlenecks of each layer. 14 is for demonstrations and tests.
    arch_settings = {
        14: (1, 1, 1, 1),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }

    def __init__(self, depth: int, **settings) -> None:
        if depth not in self.arch_settings:
            raise ValueError(f'depth must be one of {sorted(self.arch_settings)}, '
                             f'got {depth!r}.')
        super().__init__(**settings)
        self.depth = depth

    def _make_layers(self, stem: dict[str, nn.Module],
                     blocks: Sequence[Callable[..., Block]], base_channels: int,
                     last_stride: int = 2) -> list[tuple[str, int]]:
        """Add the stem's modules by name, and layers; the steps with their channels.

        ``blocks`` makes a bottleneck of (in_channels, out_channels, stride, project),
        for each of the four layers. The first of a layer widens and has the stride.
        """
        if last_stride not in (1, 2):
            raise ValueError(f'last_stride must be 1 or 2, got {last_stride!r}.')
        self._stem = tuple(stem)
        for name, module in stem.items():
            setattr(self, name, module)
        steps, strides = [('stem', base_channels)], (1, 2, 2, last_stride)
        for index, num_blocks in enumerate(self.arch_settings[self.depth]):
            name, block = f'layer{index + 1}', blocks[index]
            in_channels, channels = steps[-1][1], 4 * base_channels * 2**index
            setattr(self, name, nn.Sequential(
                block(in_channels, channels, strides[index], project=True),
                *(block(channels, channels) for _ in range(1, num_blocks))))
            steps.append((name, channels))
        return steps

    def _finish(self, steps: Sequence[tuple[str, int]]) -> None:
        super()._finish(steps, [self._stem] + [(f'layer{i}',) for i in range(1, 5)])

    def forward(self, x: Tensor) -> Tensor:
        """(M, in_channels, [T,] H, W) to (M, out_channels, [T',] H', W').

        Of a backbone of frames M is N * T, the frames of a clip next to one another.
        """
        for name in self._stem:
            x = getattr(self, name)(x)
        x = self._plug(x, 'stem')
        for step in self.steps[1:]:
            x = self._plug(getattr(self, step)(x), step)
        return x
