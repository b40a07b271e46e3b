"""What a folder of results holds."""
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

__all__ = ['ReportOptions', 'WorkDir']


@dataclass(frozen=True)
class WorkDir:
    """Files that a report is made of; None or empty where there are none.

    Attributes:
        root: The folder that was searched, with all below it.
        config: The config that a training wrote down.
        data_root: The data set's folder, where it is there.
        checkpoint: The best checkpoint, else the last.
        training_logs: ``scalars.json`` of the trainings, oldest first.
        test_logs: JSON files with the figures of tests, oldest first.
        score_files: Files of :class:`~cosam_mm.evaluation.DumpScores`, newest first.
        feature_files: Feature files of :class:`~cosam_mm.evaluation.ReIDMetric`,
            newest first.
        damaged: Files that cannot be read, with the reason.
    """
    root: Path
    config: Optional[Path] = None
    data_root: Optional[Path] = None
    checkpoint: Optional[Path] = None
    training_logs: tuple[Path, ...] = ()
    test_logs: tuple[Path, ...] = ()
    score_files: tuple[Path, ...] = ()
    feature_files: tuple[Path, ...] = ()
    damaged: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class ReportOptions:
    """How much a report shows.

    Attributes:
        num_samples: Clips or tracklets whose masks are shown, and queries with rank
            panels of the best and of the worst.
        with_masks: Whether to run the model for its masks.
        progress: Show bars.
    """
    num_samples: int = 4
    with_masks: bool = True
    progress: bool = True
