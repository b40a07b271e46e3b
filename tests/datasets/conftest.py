"""Videos, whole and broken, and the log of what the library says of them."""
import logging
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from tests.video_data import index_first, write_video


@pytest.fixture
def good(tmp_path):
    return write_video(tmp_path / 'good.mp4', 40)


@pytest.fixture
def cut(tmp_path, good):
    """decord does not open it; OpenCV reads about two thirds of 40 frames."""
    data = index_first(Path(good).read_bytes())
    path = tmp_path / 'cut.mp4'
    path.write_bytes(data[:len(data) * 2 // 3])
    return str(path)


@pytest.fixture
def zeroed(tmp_path, good):
    """decord opens it, counts 40 frames and fails in the later ones."""
    data = index_first(Path(good).read_bytes())
    path = tmp_path / 'zeroed.mp4'
    half = len(data) * 2 // 3
    path.write_bytes(data[:half] + bytes(len(data) - half))
    return str(path)


@pytest.fixture
def log(tmp_path):
    """The lines of the log file so far, without their head."""
    name = f'test {tmp_path}'
    logger = MMLogger.get_instance(name, log_file=str(tmp_path / 'run.log'))

    def lines(level):
        return [line for line in (tmp_path / 'run.log').read_text().splitlines()
                if f' {logging.getLevelName(level)} ' in line]

    yield lines
    for handler in logger.handlers:
        handler.close()
    MMLogger._instance_dict.pop(name)
