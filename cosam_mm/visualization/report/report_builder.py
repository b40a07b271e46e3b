"""From a folder of results to a report, and to its file."""
import os
from collections.abc import Iterator
from importlib import import_module
from typing import Optional

from cosam_mm.utils.io import PathLike, write_text
from cosam_mm.utils.messages import name_some

from . import page, run_sections
from .page import Block, Report, Section
from .work_dir_collection import ACTION, REID, collect_work_dir, get_in

__all__ = ['build_report', 'missing_of', 'size_advice', 'write_report']

# What mail programs still take.
_MANY_BYTES = 25_000_000


def build_report(root: PathLike, num_samples: int = 4, with_masks: bool = True,
                 progress: bool = True, data_root: Optional[PathLike] = None,
                 checkpoint: Optional[PathLike] = None,
                 title: Optional[str] = None) -> Report:
    """Everything that the results in a folder have to show.

    Args:
        root: See :func:`.work_dir_collection.collect_work_dir`.
        num_samples: Clips or tracklets whose masks are shown, and queries with rank
            panels of the best and of the worst.
        with_masks: Whether to run the model for its masks.
        progress: Show bars.
        data_root: The data set's folder. Default: searched.
        checkpoint: Default: the best one in the folder.
        title: Default: the name of the config, else of the folder.

    Raises:
        FileNotFoundError: There is no such folder or checkpoint.
        ValueError: The folder holds no results. Files that are missing or damaged are
            named in the report instead.
    """
    found = collect_work_dir(root, data_root, checkpoint)
    sections = [run_sections.summary_section(found),
                run_sections.training_section(found)]
    for key, heading, applies in (
            ('action', ACTION,
             found.score_files or get_in(found.config, 'model', 'cls_head')),
            ('reid', REID, found.feature_files or found.reid_evaluator),
            ('masks', 'Masks',
             with_masks and (found.config_file or found.checkpoint_file))):
        if applies:
            try:  # not every installation can import each section
                module = import_module(f'{__package__}.{key}_section')
                content = module.build_section(found, num_samples, progress)
            except ModuleNotFoundError as error:
                content = '', [page.missing(
                    f'the section "{heading}"',
                    f'The package {error.name} is not installed.',
                    "pip install 'cosam_mm[action]'")]
            sections.append(Section(key, heading, *content))
    return Report(title or found.name or found.root.resolve().name,
                  run_sections.subtitle(found), run_sections.headline(found),
                  [*sections, run_sections.reproduce_section(found)])


def missing_of(report: Report) -> Iterator[Block]:
    """What could have been shown and is not: blocks with 'what', 'why' and 'how'."""
    return (block for block in page.blocks_of(report) if block['kind'] == 'missing')


def write_report(report: Report, path: PathLike) -> int:
    """Write the page whole or not at all, and its folder; gives its size in bytes."""
    write_text(path, page.render_page(report))
    return os.path.getsize(path)


def size_advice(report: Report, size: int) -> str:
    """What to say of a report of so many bytes; '' unless it is a big one."""
    if size <= _MANY_BYTES:
        return ''
    blocks = sorted((block for block in page.blocks_of(report) if block.get('size')),
                    key=lambda block: -block['size'])
    named = name_some(f'{block["title"]} ({block["size"] / 1e6:.1f} MB)'
                      for block in blocks)
    return (f'the report has {size / 1e6:.0f} MB, mostly {named}. Fewer --samples, or '
            '--no-masks, make it smaller.')
