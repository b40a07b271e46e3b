"""What an exported file takes and gives, so that nobody normalises twice or never.

The contract is a dict of plain values. Every exported file carries it as JSON under
:data:`METADATA_NAME`, and has it beside it in ``<file>.json``.
"""
import json
from collections.abc import Sequence
from typing import Any, Optional

__all__ = ['METADATA_NAME', 'contract_lines', 'input_contract', 'plain']

METADATA_NAME = 'cosam_mm.json'
_AXES = dict(N='clips', C='channels', T='frames', H='height', W='width')


def plain(value: Any) -> Any:
    """The same value in JSON's types; what JSON does not know becomes text."""
    return json.loads(json.dumps(value, default=str))


def input_contract(layout: str, clip_shape: Sequence[int], channel_order: str,
                   mean: Sequence[float], std: Sequence[float], normalize: bool,
                   frame_interval: int = 1) -> dict:
    """Describe the one input of a file.

    Args:
        layout: Letters of the axes in their order, as 'NCTHW'.
        clip_shape: (C, T, H, W).
        channel_order: As 'RGB'.
        mean: Of each channel, in units of a pixel in [0, 255].
        std: Likewise.
        normalize: Whether the file normalises.
        frame_interval: Distance of a clip's frames in the video.
    """
    sizes = dict(zip('CTHW', map(int, clip_shape)), N='N')
    formula = '(pixel - mean) / std'
    return dict(
        name='frames',
        shape=[sizes[axis] for axis in layout],
        layout=layout,
        axes=', '.join(f'{axis} {_AXES[axis]}' for axis in layout),
        dtype='uint8' if normalize else 'float32',
        channel_order=channel_order,
        pixel_range=[0, 255],
        normalization=dict(
            inside=normalize, mean=list(mean), std=list(std), formula=formula,
            advice='Hand in pixels as they were decoded. The file normalises.'
            if normalize else
            f'Normalise before: {formula}, for pixels in [0, 255]. The file does not.'),
        clip_len=sizes['T'],
        frame_interval=frame_interval,
        size=[sizes['H'], sizes['W']])


def _names(names: Optional[Sequence[str]]) -> str:
    if names is None:
        return 'the checkpoint does not tell'
    shown = ', '.join(map(repr, names[:5]))
    return f'{len(names)}: {shown}{", ..." if len(names) > 5 else ""}'


def contract_lines(contract: dict) -> list[str]:
    """The contract for people: a few lines of text."""
    given, made = contract['input'], contract['output']
    norm = given['normalization']
    where = 'inside of the file' if norm['inside'] else 'BEFORE the file, by you'
    shapes = [', '.join(map(str, part['shape'])) for part in (given, made)]
    lines = [
        f'model          {contract["model"]} of {contract["checkpoint"]!r}',
        f'input          {given["name"]}: {given["dtype"]} ({shapes[0]})',
        f'               {given["axes"]}; {given["channel_order"]}',
        f'normalisation  {where}: {norm["formula"]},',
        f'               mean {norm["mean"]}, std {norm["std"]}',
        f'               {norm["advice"]}',
        f'output         {made["name"]}: {made["dtype"]} ({shapes[1]})',
        f'               {made["meaning"]}',
    ]
    if 'class_names' in contract:
        lines.append(f'classes        {_names(contract["class_names"])}')
    return lines
