"""What a run wrote down of itself, in config, checkpoint and log, and in words."""
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from cosam_mm.models.converters import read_checkpoint, unwrap_state_dict

from .work_dir import WorkDir
from .work_dir_collection import read_config, when

__all__ = ['ACTION', 'REID', 'RunRecord', 'cosam_places', 'dataset_of', 'get_in',
           'model_in_words', 'read_run', 'views_of_test']

ACTION, REID = 'Action recognition', 'Person re-identification'
# Of what mmengine writes at the head of a log.
_ENVIRONMENT = ('Python', 'PyTorch', 'CUDA available', 'GPU 0', 'OpenCV', 'MMEngine')
_COSAM = ('COSAM', 'NaiveCOSAM')
# What BatchNorm keeps beside its parameters.
_BUFFERS = ('running_mean', 'running_var', 'num_batches_tracked')
_TIMES = ' \N{MULTIPLICATION SIGN} '


@dataclass
class RunRecord:
    """What config, checkpoint and logs say; empty where they are not there.

    Attributes:
        name: Of the config.
        config: All its settings.
        meta: What the checkpoint holds beside weights.
        num_parameters: In the checkpoint.
        environment: (name, value) of versions and devices that the training ran with.
        started: When the last training began.
        task: ``ACTION``, ``REID`` or ''.
    """
    name: str = ''
    config: Mapping = field(default_factory=dict)
    meta: Mapping = field(default_factory=dict)
    num_parameters: Optional[int] = None
    environment: Sequence[tuple[str, str]] = ()
    started: Optional[datetime] = None
    task: str = ''


def read_run(found: WorkDir) -> RunRecord:
    """Read what a work dir's files say of the run that made them."""
    run = RunRecord()
    if found.config is not None:
        run.config = read_config(found.config)
        run.name = found.config.stem
    if found.checkpoint is not None:
        content = read_checkpoint(found.checkpoint)
        meta = content.get('meta') if isinstance(content, dict) else None
        run.meta = meta if isinstance(meta, dict) else {}
        run.num_parameters = _count_parameters(content)
    if run.name in ('', 'config'):  # as those of vis_data are called
        run.name = _experiment(run.meta)
    if found.training_logs:
        run.started = datetime.fromtimestamp(when(found.training_logs[-1]))
        run.environment = _environment(found.training_logs[-1])
    kind = str(get_in(run.config, 'model', 'type')).rpartition('.')[2]
    if found.feature_files or kind == 'VideoReID':
        run.task = REID
    elif found.score_files or kind.startswith('Recognizer'):
        run.task = ACTION
    return run


def get_in(value: Any, *names: str) -> Any:
    """What is in nested dicts; None where a name is not there."""
    for name in names:
        # A Config gets, too, and is no Mapping.
        value = value.get(name) if hasattr(value, 'get') else None
    return value


def _experiment(meta: Mapping) -> str:
    """The name of the config, to which mmengine has added the time."""
    return re.sub(r'_\d{8}_\d{6}$', '', str(meta.get('experiment_name') or ''))


def _count_parameters(content: Any) -> Optional[int]:
    try:
        state_dict = unwrap_state_dict(content)
    except ValueError:
        return None
    return sum(value.numel() for name, value in state_dict.items()
               if not name.endswith(_BUFFERS))


def _environment(training_log: Path) -> list[tuple[str, str]]:
    """Versions and devices from the head of the log beside a training's figures."""
    logs = sorted(training_log.parent.parent.glob('*.log'))
    if not logs:
        return []
    try:
        with open(logs[-1], encoding='utf-8', errors='replace') as file:
            head = file.read(20_000)
    except OSError:
        return []
    found = []
    for name in _ENVIRONMENT:
        line = re.search(rf'^ +{re.escape(name)}: (.+)$', head, re.MULTILINE)
        if line:
            found.append((name, line.group(1).strip()))
    return found


# -- words ---------------------------------------------------------------------------


def dataset_of(run: RunRecord) -> tuple[str, str]:
    """Name and split of the data set, from the checkpoint, else the config."""
    own = _tested_dataset(run)
    meta = run.meta.get('dataset_meta')
    meta = meta if isinstance(meta, Mapping) else {}
    name = meta.get('dataset') or own.get('name') or own.get('type') or ''
    split = meta.get('split') or own.get('split') or ''
    return str(name), str(split)


def _tested_dataset(run: RunRecord) -> Mapping:
    value = get_in(run.config, 'test_dataloader', 'dataset')
    return next(_datasets(value), {})


def _datasets(value: Any) -> Iterator[Mapping]:
    """Data sets of a loader, inside of what joins them."""
    if not isinstance(value, Mapping):
        return
    inner = [value[key] for key in ('dataset', 'query', 'gallery')
             if isinstance(value.get(key), Mapping)]
    if not inner:
        yield value
    for one in inner:
        yield from _datasets(one)


def model_in_words(run: RunRecord) -> str:
    """Types of the model and of its parts: 'Recognizer3D: ResNeXt3D-101, BERTHead'."""
    model = get_in(run.config, 'model')
    parts = []
    for name in ('backbone', 'cls_head', 'aggregation', 'head'):
        part = get_in(model, name)
        part = get_in(part, 'backbone') or part  # inside of a PluggedBackbone
        if get_in(part, 'type') is not None:
            depth = get_in(part, 'depth')
            parts.append(f'{part["type"]}{f"-{depth}" if depth else ""}')
    kind = str(get_in(model, 'type') or '')
    return f'{kind}: {", ".join(parts)}' if parts else kind


def cosam_places(run: RunRecord) -> list[str]:
    """Where the model has COSAMs: 'after layer3: 8 frames of 7 x 7'."""
    return list(_places(get_in(run.config, 'model')))


def _places(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        own = value.get('cfg')
        if isinstance(own, Mapping) and str(own.get('type')) in _COSAM:
            yield _place(value.get('after') or value.get('position'), own)
        elif str(value.get('type')) in _COSAM:
            yield _place(None, value)
        else:
            for inner in value.values():
                yield from _places(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _places(inner)


def _place(after: Any, cosam: Mapping) -> str:
    # Our backbones say position='after_layer3', PluggedBackbone after='layer3'.
    words = ('in the model' if after is None else
             f'after {str(after)[6 * str(after).startswith("after_"):]}')
    frames, size = cosam.get('num_frames'), cosam.get('spatial_size')
    if frames and isinstance(size, (list, tuple)):
        words += f': {frames} frames of {_TIMES.join(map(str, size))}'
    without = [part for part in ('spatial', 'channel')
               if cosam.get(f'with_{part}') is False]
    return words + ''.join(f', without {part} mask' for part in without)


def views_of_test(run: RunRecord) -> str:
    """How a test looks at a clip, on which figures depend: '64 frames, TenCrop'."""
    steps = _tested_dataset(run).get('pipeline')
    words = []
    for step in steps if isinstance(steps, (list, tuple)) else ():
        frames = get_in(step, 'clip_len') or get_in(step, 'num_frames')
        if frames:
            mode = str(step.get('mode') or '').replace('_', ' ')
            count = step.get('num_clips') or 1
            words.append(f'{mode + ": " if mode else ""}'
                         f'{f"{count}{_TIMES}" if count != 1 else ""}{frames} frames')
        kind = str(get_in(step, 'type'))
        if 'Crop' in kind:
            words.append(kind.rpartition('.')[2])
    return ', '.join(words)
