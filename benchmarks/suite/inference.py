"""Fast inference against the plain fp32 form, and its decisions.

The model is that of ``training_step``, in evaluation mode; plain means contiguous
memory, fp32 and COSAM with the cost volume.

Parts:

- ``forms``: what each change brings, alone and together, batch 2;
- ``error``: the largest difference of the scores, by the largest score;
- ``decisions``: videos below the folder of ``--videos`` whose best class changes, with
  the weights and the config in the file of ``--checkpoint``.
"""
import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.harness import Options
from benchmarks.metrics import Metric, at_least, at_most
from benchmarks.suite.training_step import build, clips, compared, exact
from cosam_mm.apis.inference_optimization import fold_batch_norms, use_channels_last
from projects.attention_study.measurement import ratio_to_baseline, time_alternately

__all__ = ['PARTS', 'run']

BATCH = 2
FP32_ERROR, BF16_ERROR = 1e-5, 2**-5


def run(options: Options) -> Iterator[Metric]:
    """Yield the metrics of the parts that were asked for."""
    for part in options.parts:
        for metric in PARTS[part](options):
            yield replace(metric, target=None) if options.quick else metric


def _forms(options: Options, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Name -> a forward pass. The plain form comes first."""
    plain = build(options, 'NaiveCOSAM').eval()
    _learn(plain)
    ours = build(options).eval()
    ours.load_state_dict(plain.state_dict())
    last, both = copy.deepcopy(ours), copy.deepcopy(ours)
    use_channels_last(last)
    fold_batch_norms(both, _forward(both, x))
    folded = copy.deepcopy(both)
    use_channels_last(both)
    return {'plain': _forward(plain, x),
            'COSAM without volume': _forward(ours, x),
            'channels last': _forward(last, x),
            'folded': _forward(folded, x),
            'bf16': _forward(ours, x, True),
            'channels last, folded': _forward(both, x),
            'channels last, bf16': _forward(last, x, True),
            'fast: channels last, folded, bf16': _forward(both, x, True)}


def _learn(model: nn.Module) -> None:
    """Statistics as after training, not the zeros and ones of a new model."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def _forward(model: nn.Module, x: Tensor, bf16: bool = False) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        context = (torch.autocast(x.device.type, torch.bfloat16) if bf16
                   else nullcontext())
        with torch.no_grad(), context:
            return model.cls_head(model.backbone(x))
    return forward


def _times(options: Options) -> Iterator[Metric]:
    forms = _forms(options, clips(options, BATCH))
    times = time_alternately(forms, options.seconds, 2 if options.quick else None,
                             warmup=1, device=options.device)
    for name, ratio in ratio_to_baseline(times, 'plain').items():
        if name != 'plain':
            target = at_least(2.5) if name.startswith('fast') else None
            yield Metric('forms', f'plain / {name}, batch {BATCH}', 'times', ratio,
                         target, {'batch': BATCH, 'clip': '3x64x112x112',
                                  **compared(times, 'plain', name)})


def _errors(options: Options) -> Iterator[Metric]:
    forms = _forms(options, clips(options, BATCH))
    scores = {name: forward().double() for name, forward in forms.items()}
    plain = scores.pop('plain')
    for name, other in scores.items():
        error = ((other - plain).abs().max() / plain.abs().max()).item()
        bound = BF16_ERROR if 'bf16' in name else FP32_ERROR
        yield Metric('error', f'scores of {name}', 'error', exact(error),
                     at_most(bound))


def _decisions(options: Options) -> Iterator[Metric]:
    """Every clip of the folder, in both forms; the checkpoint holds its config."""
    checkpoint, folder = options.checkpoint, options.videos
    if not checkpoint or not folder:
        yield Metric('decisions', 'clips with another best class', 'clips', None,
                     note='give --checkpoint FILE and --videos DIR')
        return
    from cosam_mm import ActionRecognizer
    videos = sorted(path for path in folder.rglob('*.*')
                    if path.suffix in ('.avi', '.mp4'))
    if options.quick:
        videos = videos[:2]
    found = {}
    for fast in (False, True):
        recognizer = ActionRecognizer(str(checkpoint), device=options.device, fast=fast)
        found[fast] = [recognizer.predict(str(video), 1) for video in videos]
    changed = sum(one.classes[0].label != other.classes[0].label
                  for one, other in zip(found[False], found[True]))
    largest = max(abs(one.score).max() for one in found[False])
    error = max(abs(one.score - other.score).max()
                for one, other in zip(found[False], found[True])) / largest
    yield Metric('decisions', 'clips with another best class', 'clips',
                 exact(float(changed)), at_most(0), {'clips': len(videos)},
                 f'of {len(videos)}')
    yield Metric('decisions', 'scores of these clips', 'error', exact(float(error)),
                 at_most(BF16_ERROR), {'clips': len(videos)})


PARTS = {'forms': _times, 'error': _errors, 'decisions': _decisions}
