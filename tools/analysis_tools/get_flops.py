"""Parameters and multiply-adds of a model: ``get_flops.py CONFIG``."""

from mmengine.config import Config, DictAction
from mmengine.registry import MODELS

import cosam_mm  # noqa: F401
from cosam_mm.apis.complexity import measure_complexity
from cosam_mm.apis.model_loading import scope_of
from cosam_mm.datasets.class_weights import without_class_weights
from cosam_mm.utils.cli import CommandParser, existing_file, one_line_errors
from cosam_mm.utils.config import input_shape
from cosam_mm.utils.config_options import merge_options


def parse_args():
    parser = CommandParser(
        description='Count the parameters and multiply-adds of a model for one clip.')
    parser.add_argument('config', help='config file', type=existing_file('config'))
    parser.add_argument('--shape', type=int, nargs=4, metavar=('C', 'T', 'H', 'W'),
                        help="one clip (default: what the config's test pipeline "
                        'gives)')
    parser.add_argument('--table', action='store_true', help='print them by module')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        metavar='KEY=VALUE', help='settings of the config to override')
    return parser.parse_args()


def main():
    args = parse_args()
    with one_line_errors():
        cfg = Config.fromfile(args.config)
        merge_options(cfg, args.cfg_options or {})
        shape = tuple(args.shape or input_shape(cfg))
        with scope_of(cfg, 'mmaction'):
            model = MODELS.build(without_class_weights(cfg.model))
        cost = measure_complexity(model, shape, args.table)
    if args.table:
        print(cost.table)
    print(f'clip        {" x ".join(map(str, shape))} (C x T x H x W)')
    print(f'parameters  {cost.parameters / 1e6:.2f} M ({cost.parameters:,})')
    print(f'FLOPs       {cost.multiply_adds / 1e9:.2f} G (a multiply-add counts one)')


if __name__ == '__main__':
    main()
