"""A whole training step against the plain form of the same model.

The model is ``configs/resnext101_cosam_bert_hmdb51.py``: ResNeXt101-64f, COSAM and
BERT, on clips of 3 x 64 x 112 x 112. The plain form has contiguous memory, fp32, COSAM
with the cost volume and AdamW as it comes; the fast one has channels last, COSAM as it
is here and the fused AdamW, in a process that keeps the memory it frees
(``ChannelsLastHook`` and ``MallocTuningHook``).

Parts:

- ``step``: forward, loss, backward and update, batch 2, in fp32 and under bf16;
- ``cosam``: the same steps without COSAM: what COSAM adds to a step;
- ``memory``: the clips of a step that fit into a budget of memory beyond weights and
  optimiser, with and without checkpointing (``with_cp``);
- ``profile``: the operations that a fast step spends its time in.
"""
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Options
from benchmarks.metrics import Metric, at_least, at_most
from benchmarks.profiling import time_by_operation
from benchmarks.subprocess_contender import SubprocessContenders
from cosam_mm.apis.inference_optimization import use_channels_last
from projects.attention_study import cosam_naive  # noqa: F401  (registers NaiveCOSAM)
from projects.attention_study.measurement import (
    Summary,
    peak_extra_bytes,
    ratio_to_baseline,
    summarize,
    time_alternately,
)

__all__ = ['PARTS', 'build', 'clips', 'compared', 'exact', 'fast_steps', 'run',
           'steps_with_and_without']

CONFIG = Path(__file__).parents[2] / 'configs' / 'resnext101_cosam_bert_hmdb51.py'
BATCH = 2
BUDGET = 8 * 2**30
OPERATIONS = 12
# Of a quick run: ResNeXt14, thin, on small clips.
QUICK_FRAMES = 32
QUICK_BACKBONE = dict(depth=14, base_channels=8, groups=4, reduced_channels=32)


def run(options: Options) -> Iterator[Metric]:
    """Yield the metrics of the parts that were asked for."""
    for part in options.parts:
        for metric in PARTS[part](options):
            yield replace(metric, target=None) if options.quick else metric


def build(options: Options, cosam: str = 'COSAM', **backbone) -> nn.Module:
    """The model with weights of the seed; ``cosam=''`` leaves COSAM out."""
    cfg = Config.fromfile(CONFIG)
    init_default_scope(cfg.default_scope)
    model = cfg.model
    model.backbone.update(backbone)
    if options.quick:
        model.backbone.update(QUICK_BACKBONE)
        model.cls_head.update(in_channels=32, num_tokens=QUICK_FRAMES // 16,
                              temporal=dict(num_heads=4))
    (plugin,) = model.backbone.plugins
    plugin.cfg.type = cosam
    if options.quick:
        plugin.cfg.update(num_frames=QUICK_FRAMES // 8, spatial_size=(2, 2))
    if not cosam:
        model.backbone.plugins = None
    torch.manual_seed(options.seed)
    return MODELS.build(model).to(options.device)


def clips(options: Options, batch: int) -> Tensor:
    """(batch, 3, T, H, W) as they leave the preprocessor."""
    shape = (QUICK_FRAMES, 32, 32) if options.quick else (64, 112, 112)
    torch.manual_seed(options.seed)
    return torch.randn(batch, 3, *shape).mul(60).to(options.device)


def compared(times: dict, baseline: str, contender: str) -> dict:
    """Details of a ratio: both sides' median seconds."""
    return {'baseline': baseline, 'contender': contender,
            'baseline_seconds': summarize(times[baseline]).median,
            'contender_seconds': summarize(times[contender]).median}


def exact(value: float) -> Summary:
    """A metric that does not vary."""
    return Summary(value, value, value, 1)


def _step(model: nn.Module, x: Tensor, bf16: bool = False,
          fused: bool = True) -> Callable[[], None]:
    """Forward, loss, backward, update."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=1e-3,
                                  fused=fused or None)
    labels = torch.arange(len(x), device=x.device) % 51

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16) if bf16 else nullcontext():
            loss = F.cross_entropy(model.cls_head(model.backbone(x)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def _fast(options: Options, cosam: str = 'COSAM', **backbone) -> nn.Module:
    model = build(options, cosam, **backbone)
    use_channels_last(model)
    return model


def _time(options: Options, contenders: dict) -> dict:
    # A step takes seconds: more rounds than the seconds ask for are not needed.
    return time_alternately(contenders, options.seconds, 2 if options.quick else None,
                            warmup=1, device=options.device)


def _details(times: dict, *sides: str) -> dict:
    return {'batch': BATCH, 'clip': '3x64x112x112', **compared(times, *sides)}


def fast_steps(options: Options) -> dict[str, Callable[[], None]]:
    """The fast forms, in fp32 and under bf16."""
    x, model = clips(options, BATCH), _fast(options)
    return {'fast fp32': _step(model, x), 'fast bf16': _step(model, x, bf16=True)}


def steps_with_and_without(options: Options) -> dict[str, Callable[[], None]]:
    """The fast steps with COSAM and without it, in fp32 and under bf16."""
    x = clips(options, BATCH)
    models = {'with': _fast(options), 'without': _fast(options, '')}
    return {f'{side} {name}': _step(model, x, name == 'bf16')
            for side, model in models.items() for name in ('fp32', 'bf16')}


def _whole(options: Options) -> Iterator[Metric]:
    x, model = clips(options, BATCH), _fast(options)
    with SubprocessContenders(fast_steps, options) as others:
        times = _time(options, {
            'plain': _step(build(options, 'NaiveCOSAM'), x, fused=False),
            'fast fp32': others.call('fast fp32'),
            'fast bf16': others.call('fast bf16'),
            'fast fp32, memory given back': _step(model, x),
            'fast bf16, memory given back': _step(model, x, bf16=True)})
    ratios = ratio_to_baseline(times, 'plain')
    targets = {'fast fp32': at_least(1.35), 'fast bf16': at_least(2.5)}
    for name, ratio in ratios.items():
        if name != 'plain':
            yield Metric('step', f'plain / {name}, batch {BATCH}', 'times', ratio,
                         targets.get(name), _details(times, 'plain', name))


def _cosam(options: Options) -> Iterator[Metric]:
    with SubprocessContenders(steps_with_and_without, options) as others:
        for name in ('fp32', 'bf16'):
            times = _time(options, {side: others.call(f'{side} {name}')
                                    for side in ('with', 'without')})
            yield Metric('cosam', f'with COSAM / without, {name}, batch {BATCH}',
                         'times', ratio_to_baseline(times, 'with')['without'],
                         at_most(1.02), _details(times, 'with', 'without'))


def _memory(options: Options) -> Iterator[Metric]:
    """Memory grows by as much with each clip: two batches tell it."""
    for bf16 in (False, True):
        fitting = {}
        for with_cp in (False, True):
            model = _fast(options, with_cp=with_cp)
            small, large = (peak_extra_bytes(
                _step(model, clips(options, batch), bf16), options.device)
                for batch in (1, 2))
            fitting[with_cp] = 1 + (BUDGET - small) / (large - small)
            label = (f'{"bf16" if bf16 else "fp32"}, '
                     f'{"with" if with_cp else "without"} with_cp')
            yield Metric('memory', f'clips in {BUDGET >> 30} GiB, {label}', 'clips',
                         exact(float(int(fitting[with_cp]))), None,
                         {'budget_bytes': BUDGET, 'bytes_of_batch_1': small,
                          'bytes_of_batch_2': large})


def _profile(options: Options) -> Iterator[Metric]:
    x = clips(options, BATCH)
    model = _fast(options)
    for name, bf16 in (('fp32', False), ('bf16', True)):
        shares = time_by_operation(_step(model, x, bf16), steps=2)
        for (phase, operation), share in list(shares.items())[:OPERATIONS]:
            yield Metric('profile', f'{name}, {phase}: {operation}', 'share',
                         exact(share))


PARTS = {'step': _whole, 'cosam': _cosam, 'memory': _memory, 'profile': _profile}
