"""From a folder of results to a report, and to its file."""
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional, Union

from .content import Missing, Report, Section
from .page import part_sizes, render_page
from .summary_section import summarize
from .work_dir import ReportOptions, WorkDir
from .work_dir_collection import find_work_dir

__all__ = ['TOPICS', 'build_report', 'missing_of', 'size_advice', 'write_report']

PathLike = Union[str, os.PathLike]

# What mail programs still take.
_MANY_BYTES = 25_000_000
_MAX_NAMED = 5

# Modules beside this one, each with a build_section(found, options), in their order.
TOPICS = ('training', 'action', 'reid', 'masks')
_TITLES = dict(training='Training', action='Action recognition',
               reid='Person re-identification', masks='Masks')


def build_report(root: PathLike, options: Optional[ReportOptions] = None,
                 data_root: Optional[PathLike] = None,
                 checkpoint: Optional[PathLike] = None,
                 title: Optional[str] = None) -> Report:
    """Everything that the results in a folder have to show.

    Args:
        root: See :func:`.work_dir_collection.find_work_dir`.
        options: How much to show.
        data_root: The data set's folder. Default: searched.
        checkpoint: Default: the best one in the folder.
        title: Default: the name of the config.

    Raises:
        FileNotFoundError: There is no such folder or checkpoint.
        ValueError: The folder holds no results. Files that lack or are damaged are
            named in the report instead.
    """
    options = options or ReportOptions()
    found = find_work_dir(root, data_root, checkpoint)
    summary = summarize(found, title)
    topics = [topic for topic in TOPICS if options.with_masks or topic != 'masks']
    sections = [_section(topic, found, options) for topic in topics]
    return Report(summary.title, summary.subtitle, summary.headline,
                  [summary.first, *filter(None, sections), summary.last])


def _section(topic: str, found: WorkDir, options: ReportOptions) -> Optional[Section]:
    try:
        module = importlib.import_module(f'{__package__}.{topic}')
    except ModuleNotFoundError as error:
        if str(error.name).split('.')[0] == 'cosam_mm':
            raise
        missing = Missing(f'the section "{_TITLES[topic]}"',
                          f'The package {error.name} is not installed.',
                          f'pip install {error.name}')
        return Section(topic, _TITLES[topic], '', [missing])
    return module.build_section(found, options)


def missing_of(report: Report) -> Iterator[Missing]:
    """What could have been shown and is not."""
    return (block for section in report.sections for block in section.blocks
            if isinstance(block, Missing))


def write_report(report: Report, path: PathLike) -> int:
    """Write the page; a reader meets the old file or the whole new one.

    Args:
        report: What to write.
        path: The file; its folder is made.

    Returns:
        Its size in bytes.
    """
    path = Path(path)
    data = render_page(report).encode('utf-8')
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return len(data)


def size_advice(report: Report, size: int) -> str:
    """What to say of a report of so many bytes; '' where it is no big one."""
    if size <= _MANY_BYTES:
        return ''
    named = ', '.join(f'{part.title} ({part.size / 1e6:.1f} MB)'
                      for part in part_sizes(report)[:_MAX_NAMED])
    return (f'the report has {size / 1e6:.0f} MB, mostly {named}. Fewer --samples, or '
            '--no-masks, make it smaller.')
