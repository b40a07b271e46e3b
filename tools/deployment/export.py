"""Write a trained model as files that run without this package.

Exported are recognisers of actions (Recognizer3D) and re-identification models
(VideoReID), as ONNX, as a torch.export program, or both. Each file is read back from
disk and compared with PyTorch on fresh random input before it is kept.

By default a file takes pixels as they are decoded, uint8 RGB in [0, 255], and
normalises them itself; it refuses floats, so nobody normalises twice. What it takes and
gives is printed, stored in the file under "cosam_mm.json", and written to FILE.json.

A recogniser takes single views, (N, C, T, H, W), and gives their logits. Ten crops or
several clips are so many rows of the batch; average them afterwards. A re-ID model
takes clips, (N, T, C, H, W), and gives their features; a tracklet's is the mean of its
clips'.

Examples:
    python tools/deployment/export.py work_dirs/resnet/best_acc_top1_epoch_30.pth
    python tools/deployment/export.py configs/reid/se_resnet50_cosam45_tp_mars.py \\
        --checkpoint epoch_800.pth --format both --out exported/se_resnet50
"""
from pathlib import Path

import cosam_mm  # noqa: F401
from cosam_mm.apis.deployable import load_deployable
from cosam_mm.apis.export import FORMATS, check_exportable, export_model
from cosam_mm.apis.model_loading import find_trained
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    at_least_two,
    existing_file,
    non_negative_float,
    one_line_errors,
)
from cosam_mm.utils.messages import name_some


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        'model', metavar='CHECKPOINT_OR_CONFIG', type=existing_file('file'),
        help='checkpoint, which holds its config; or config file, whose newest best '
        'checkpoint below its work dir is taken')
    parser.add_argument('--checkpoint', help='checkpoint to go with a config file')
    parser.add_argument('--out', metavar='FILE', type=Path,
                        help='file to write, with or without its suffix (default: '
                        'beside the checkpoint, by its name)')
    parser.add_argument('--format', choices=(*FORMATS, 'both'), default='onnx',
                        help='onnx: FILE.onnx, needs the packages of cosam_mm[deploy]; '
                        'program: FILE.pt2, for torch.export.load (default: onnx)')
    parser.add_argument('--overwrite', action='store_true', help='replace files')
    parser.add_argument(
        '--normalized-input', action='store_true',
        help='leave the normalisation out: the file takes float32 that YOU have '
        'normalised with the mean and std that are printed (default: the file takes '
        'uint8 pixels and normalises)')
    parser.add_argument('--shape', type=int, nargs=4, metavar=('C', 'T', 'H', 'W'),
                        help="one clip (default: what the config's test pipeline "
                        'makes); only the number of clips is open in a file')
    parser.add_argument('--dynamic-frames', action='store_true',
                        help='let clips have any number of frames, for models whose '
                        'COSAMs have any_size and whose head takes any number of '
                        'tokens: the mean or LSTM; TP of re-ID')
    parser.add_argument('--opset', type=int, metavar='N',
                        help="version of ONNX's operators (default: torch's choice)")
    parser.add_argument('--external-data', action='store_true',
                        help='put the weights of the ONNX file into FILE.onnx.data '
                        'beside it; more than 1.5 GiB go there in any case')
    parser.add_argument('--batch-size', type=at_least_two, default=2, metavar='N',
                        help='clips of the larger batch of the check; the other is 1, '
                        'and the model is traced with N + 1 (default: 2)')
    parser.add_argument(
        '--tolerance', type=non_negative_float, default=1e-4, metavar='E',
        help='largest relative error for a file to be kept: of each row of the output '
        'the largest error, in units of the largest entry (default: 1e-4)')
    add_no_verify(parser)
    args = parser.parse_args()
    if args.checkpoint and not args.model.endswith('.py'):
        parser.error(f'--checkpoint goes with a config file, not with {args.model}')
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape: sizes are at least 1, got {args.shape}')
    args.formats = tuple(FORMATS) if args.format == 'both' else (args.format,)
    if args.out is not None and args.out.suffix in FORMATS.values():
        if [args.out.suffix] != [FORMATS[name] for name in args.formats]:
            parser.error(f'--out {args.out} does not go with --format {args.format}: '
                         'name the file without suffix')
        args.out = args.out.with_suffix('')
    return args


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
        names = contract['class_names']
        listed = 'the checkpoint does not name them' if names is None \
            else f'{len(names)}: {name_some(map(repr, names))}'
        lines.append(f'classes        {listed}')
    return lines


def main():
    args = parse_args()
    with one_line_errors():
        checkpoint, config = find_trained(args.model, args.checkpoint)
        if config is not None:
            print(f'checkpoint     {checkpoint}')
        out = args.out or Path(checkpoint).with_suffix('')
        check_exportable(out, args.formats, args.opset, args.overwrite)
        model = load_deployable(checkpoint, config, args.shape,
                                not args.normalized_input)
        print('\n'.join(contract_lines(model.contract)))
        print('tracing, writing and checking ...', flush=True)
        files = export_model(
            model, out, args.formats, args.opset, args.batch_size, args.tolerance,
            args.external_data, args.overwrite, args.dynamic_frames)
    for file in files:
        print(f'{file.path}: {file.num_bytes / 1e6:.1f} MB, max relative error '
              f'{file.max_relative_error:.1e} in batches of 1 and {args.batch_size}')
        print(f'  with {", ".join(map(str, file.companions))}')


if __name__ == '__main__':
    main()
