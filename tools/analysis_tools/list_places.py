"""Names of a backbone's submodules, for plugins: ``list_places.py CONFIG``."""
import argparse
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

import cosam_mm  # noqa: F401
from cosam_mm.apis.insertion_points import list_places
from cosam_mm.utils.cli import one_line_errors


def parse_args():
    parser = argparse.ArgumentParser(
        description="Print what a plugin's after=... may name in the backbone of a "
        'config: each submodule with the shape of its output for one clip, and the '
        'layouts that such a feature can have. The backbone is run once to find out.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--shape', type=int, nargs='+', metavar='SIZE',
                        help='one clip, 1 C T H W, or its frames, T C H W (default: '
                        "the config's input_shape, or what its test pipeline gives)")
    parser.add_argument('--depth', type=int, default=2, metavar='N',
                        help='list names of up to N parts (default: %(default)s)')
    parser.add_argument('--all', action='store_true',
                        help='list also what can take no plugin, and why')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        metavar='KEY=VALUE', help='settings of the config to override')
    args = parser.parse_args()
    if not Path(args.config).is_file():
        parser.error(f'there is no config {args.config}')
    if args.depth < 1:
        parser.error(f'--depth must be at least 1, got {args.depth}')
    return args


def main():
    args = parse_args()
    with one_line_errors():
        cfg = Config.fromfile(args.config)
        if args.cfg_options is not None:
            cfg.merge_from_dict(args.cfg_options)
        init_default_scope(cfg.get('default_scope', 'mmaction'))
        places = list_places(cfg, args.shape)
    rows = [('after', 'module', 'output of one clip', 'layout')]
    rows += [(place.name, place.kind, str(place.shape or place.reason),
              ', '.join(place.layouts)) for place in places
             if place.name.count('.') < args.depth and (args.all or place.layouts)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print('  '.join(map(str.ljust, row, widths)).rstrip())


if __name__ == '__main__':
    main()
