"""The section on how results were made, and on how to make them again."""
import shlex
from importlib import metadata
from pathlib import Path

import cosam_mm

from .content import Block, Code, Facts, Section, Text
from .run_log import REID, RunRecord
from .work_dir import WorkDir

__all__ = ['again_section', 'command_of_test', 'relative_name']

_PACKAGES = ('cosam_mm', 'torch', 'mmengine', 'mmaction2', 'mmcv', 'mmcv-lite',
             'transformers', 'numpy')


def again_section(found: WorkDir, run: RunRecord) -> Section:
    """Commands, versions and files."""
    blocks: list[Block] = []
    commands = _commands(found, run)
    if commands:
        blocks.append(Code('Commands, from the root of cosam_mm', '\n'.join(commands)))
    if run.environment:
        blocks += [Text('The training ran with:'), Facts(run.environment)]
    versions = [(name, _version(name)) for name in _PACKAGES]
    blocks += [Text('This report was written with:'),
               Facts([(name, version) for name, version in versions if version]),
               Text('It was made of these files:'), Facts(_files(found))]
    return Section('again', 'Once more', 'What made these results, and how to make '
                   'them again.', blocks)


def _files(found: WorkDir) -> list[tuple[str, str]]:
    groups = {'Config': [found.config], 'Checkpoint': [found.checkpoint],
              'Training logs': found.training_logs, 'Test logs': found.test_logs,
              'Scores': found.score_files, 'Features': found.feature_files}
    return [('Folder', str(found.root)),
            ('Data set', str(found.data_root or 'not found')),
            *((name, '\n'.join(relative_name(path, found.root) for path in paths))
              for name, paths in groups.items() if any(paths))]


def relative_name(path: Path, root: Path) -> str:
    """A file's name from ``root`` on, where it is below."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return str(path)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ''


def _config_file(found: WorkDir, run: RunRecord) -> str:
    """The shipped config of that name, else the one in the work dir."""
    shipped = Path(cosam_mm.__file__).parent / '.mim' / 'configs'
    for path in (shipped / f'{run.name}.py', shipped / 'reid' / f'{run.name}.py'):
        if run.name and path.is_file():
            return f'configs/{path.relative_to(shipped).as_posix()}'
    return str(found.config)


def _data_option(found: WorkDir) -> list[str]:
    return ['--data-root', str(found.data_root)] if found.data_root else []


def command_of_test(found: WorkDir, run: RunRecord) -> str:
    """The command that tests the checkpoint and keeps what a report shows of it.

    Returns:
        The command, or '' where config or checkpoint are not there.
    """
    if found.config is None or found.checkpoint is None:
        return ''
    is_reid = run.task == REID
    results = found.root / ('features.npz' if is_reid else 'scores.npz')
    return shlex.join([
        'python', 'tools/test.py', _config_file(found, run), str(found.checkpoint),
        *_data_option(found), '--work-dir', str(found.root / 'test'),
        *(['--rerank'] if is_reid else []), '--dump', str(results)])


def _commands(found: WorkDir, run: RunRecord) -> list[str]:
    if found.config is None:
        return []
    seed = run.meta.get('seed')
    train = ['python', 'tools/train.py', _config_file(found, run),
             *_data_option(found), '--work-dir', 'work_dirs/once_more',
             *(['--seed', str(seed)] if isinstance(seed, int) else [])]
    report = ['python', 'tools/report.py', str(found.root)]
    test = command_of_test(found, run)
    return [shlex.join(train), *([test] if test else []), shlex.join(report)]
