"""List the configs that ship, or copy one with all that it inherits.

Examples:
    cosam-mm configs
    cosam-mm configs list reid mars strong
    cosam-mm configs copy resnext14_cosam_bert_demo
"""
import ast
import shutil
from pathlib import Path

import yaml  # mmengine's

from cosam_mm.utils.cli import (
    CommandParser,
    find_config,
    first_line,
    one_line_errors,
    shipped,
    shipped_configs,
)
from cosam_mm.utils.io import read_text
from cosam_mm.utils.messages import table_lines


def parse_args():
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    listing = commands.add_parser('list', help='list them (default)')
    listing.add_argument('words', nargs='*', metavar='WORD',
                         help='only those with each of these in name or description')
    copying = commands.add_parser('copy', help='copy one')
    copying.add_argument('name', metavar='NAME')
    copying.add_argument('folder', metavar='DIR', nargs='?', type=Path,
                         default=Path('configs'), help='default: %(default)s')
    return parser.parse_args()


def describe():
    """Name of each config that ships, and a line on it from the file or the index."""
    index = {
        model['Config']: model for file in shipped('configs').rglob('metafile.yml')
        for model in yaml.safe_load(read_text(file))['Models']}
    for name, path in shipped_configs().items():
        text = first_line(path)
        if model := index.get(f'configs/{name}.py'):
            about = model['Metadata']
            text = (f'{about["Architecture"]}, {about["Training Data"]}, '
                    f'{model["Modality"]} {about["Resolution"]}, '
                    f'{about["Parameters"]} parameters')
        yield name, text


def with_bases(path):
    """A config file and all that it inherits."""
    found = [path]
    for node in ast.parse(read_text(path)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                found += with_bases((path.parent / base).resolve())
    return list(dict.fromkeys(found))


def copy_config(name, folder):
    """Copy a config and what it inherits, into folders as they ship.

    Raises:
        FileExistsError: A file of that name has another content.
        ValueError: No config that ships has this name.
    """
    root = shipped('configs')
    copies = {path: folder / path.relative_to(root)
              for path in with_bases(find_config(name, here=False))}
    for path, copy in copies.items():
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            raise FileExistsError(f'{copy} is there and differs from the one that '
                                  'ships. Name another folder, or take it away.')
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    print(f'{next(iter(copies.values()))} and {len(copies) - 1} files that it inherits')


def main():
    args = parse_args()
    if args.command == 'copy':
        with one_line_errors():
            copy_config(args.name, args.folder)
        return
    words = [word.lower() for word in getattr(args, 'words', ())]
    rows = [row for row in describe()
            if all(word in ' '.join(row).lower() for word in words)]
    print('\n'.join(table_lines(('config', ''), rows)) if rows
          else f'no config has {" and ".join(words)}')


if __name__ == '__main__':
    main()
