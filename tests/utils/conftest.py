"""Configs of the project, for tests that change them."""
import copy

import pytest
from mmengine.config import Config


@pytest.fixture(scope='module')
def read(repo):
    """Reads a config of the project."""
    cache = {}

    def read(name):
        if name not in cache:
            cache[name] = Config.fromfile(repo / 'configs' / name)
        return copy.deepcopy(cache[name])
    return read


@pytest.fixture
def cfg(read):
    return read('resnext101_cosam_bert_hmdb51.py')
