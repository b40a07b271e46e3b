"""What the backbones share: plugins, freezing and checkpointing.

A backbone is a sequence of named steps. After each step the plugins configured
for it run, in mm's plugin style::

    plugins=[dict(cfg=dict(type='COSAM', num_frames=8, spatial_size=(7, 7)),
                  position='after_layer3')]

Plugins live under ``plugins.<position>.<index>``, apart from the backbone's own
modules, so that a checkpoint of the bare backbone keeps fitting.
"""
from collections.abc import Sequence
from typing import Optional

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ['Block', 'SteppedBackbone', 'check_feature_reduction']


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
