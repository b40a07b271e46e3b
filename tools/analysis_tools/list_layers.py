"""Names of a backbone's submodules, for plugins: ``list_layers.py CONFIG``."""

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

import cosam_mm  # noqa: F401
from cosam_mm.apis.insertion_points import list_insertion_points
from cosam_mm.utils.cli import (
    CommandParser,
    existing_file,
    one_line_errors,
    positive_int,
)
from cosam_mm.utils.config_options import merge_options
from cosam_mm.utils.messages import table_lines


def parse_args():
    parser = CommandParser(
        description="Print what a plugin's after=... may name in the backbone of a "
        'config: each submodule with the shape of its output for one clip, and the '
        'layouts that such a feature can have. The backbone is run once to find out.')
    parser.add_argument('config', help='config file', type=existing_file('config'))
    parser.add_argument('--shape', type=int, nargs='+', metavar='SIZE',
                        help='one clip, 1 C T H W, or its frames, T C H W (default: '
                        "the config's input_shape, or what its test pipeline gives)")
    parser.add_argument('--depth', type=positive_int, default=2, metavar='N',
                        help='list names of up to N parts (default: %(default)s)')
    parser.add_argument('--all', action='store_true',
                        help='list also what can take no plugin, and why')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        metavar='KEY=VALUE', help='settings of the config to override')
    return parser.parse_args()


def main():
    args = parse_args()
    with one_line_errors():
        cfg = Config.fromfile(args.config)
        merge_options(cfg, args.cfg_options or {})
        init_default_scope(cfg.get('default_scope', 'mmaction'))
        points = list_insertion_points(cfg, args.shape)
    rows = [(point.name, point.kind, point.shape or point.reason,
             ', '.join(point.layouts)) for point in points
            if point.name.count('.') < args.depth and (args.all or point.layouts)]
    print('\n'.join(table_lines(('after', 'module', 'output of one clip', 'layout'),
                                rows)))


if __name__ == '__main__':
    main()
