"""Write one HTML file with all that a training and its tests have to show.

Examples:
    python tools/report.py work_dirs/demo
    python tools/report.py work_dirs/resnext101_cosam_bert_hmdb51 --out hmdb51.html
"""
import sys
from pathlib import Path

import cosam_mm  # noqa: F401
from cosam_mm.utils.cli import CommandParser, add_no_verify, one_line_errors
from cosam_mm.utils.io import check_destination
from cosam_mm.visualization.report.report_builder import (
    build_report,
    missing_of,
    size_advice,
    write_report,
)


def parse_args():
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        'work_dir', metavar='WORK_DIR',
        help='folder of a training, and of score or feature files beside it; all '
        'folders below are searched')
    parser.add_argument('--out', metavar='FILE.html',
                        help='file to write (default: WORK_DIR/report.html)')
    parser.add_argument(
        '--data-root', metavar='DIR', help="the data set's folder, for frames of clips "
        "and tracklets (default: WORK_DIR/data, or the config's)")
    parser.add_argument('--checkpoint', metavar='FILE',
                        help='checkpoint to show masks of (default: the best one)')
    parser.add_argument(
        '--samples', type=int, default=4, metavar='N',
        help='clips or tracklets with masks, and queries of the best and of the worst '
        '(default: %(default)s)')
    parser.add_argument('--no-masks', action='store_true',
                        help='do not run the model for its masks, which takes longest')
    parser.add_argument('--title', metavar='TEXT',
                        help='heading (default: name of the config)')
    add_no_verify(parser)
    args = parser.parse_args()
    if args.samples < 1:
        parser.error(f'--samples must be at least 1, got {args.samples}')
    if args.out and Path(args.out).suffix.lower() not in ('.html', '.htm'):
        parser.error(f'--out writes an .html file, got {args.out}')
    return args


def main():
    args = parse_args()
    out = Path(args.out or Path(args.work_dir) / 'report.html')
    with one_line_errors():
        if out.parent.is_dir() or args.out:
            check_destination(out, overwrite=True)
        report = build_report(
            args.work_dir, args.samples, not args.no_masks, data_root=args.data_root,
            checkpoint=args.checkpoint, title=args.title)
    size = write_report(report, out)
    for missing in missing_of(report):
        print(f'not shown: {missing["what"]}: {missing["why"]}')
    advice = size_advice(report, size)
    if advice:
        print(f'warning: {advice}', file=sys.stderr)
    print(f'report       {out} ({size / 1e6:.1f} MB)')


if __name__ == '__main__':
    main()
