"""What the command-line tools change in a config of re-identification."""
import re

import pytest
from mmengine.config import Config

from cosam_mm.utils import config as edits

MARS, DUKE, ILIDS = (
    f'reid/resnet50_tp_{name}.py' for name in ('mars', 'dukemtmc', 'ilids'))
ACTION = 'resnext101_cosam_bert_hmdb51.py'


@pytest.fixture
def read(repo):
    """Reads a config of the project."""
    return lambda name: Config.fromfile(repo / 'configs' / name)


def parts(cfg):
    """The data sets that have files: training, then queries and gallery of a test."""
    tests = [cfg[f'{name}_dataloader'].dataset[part]
             for name in ('val', 'test') for part in ('query', 'gallery')]
    return [cfg.train_dataloader.dataset, *tests]


def test_split_reaches_query_and_gallery(read):
    cfg = read(ILIDS)
    assert edits.split_numbers(cfg) == range(1, 11)
    edits.set_split(cfg, 10)
    assert [part.split for part in parts(cfg)] == [10] * 5
    assert 'split' not in cfg.test_dataloader.dataset


@pytest.mark.parametrize('split', [0, 11])
def test_split_outside_of_the_range(read, split):
    with pytest.raises(ValueError, match=f'must be from 1 to 10, got {split}'):
        edits.set_split(read(ILIDS), split)


@pytest.mark.parametrize('name', [MARS, DUKE])
def test_data_without_splits(read, name):
    cfg = read(name)
    with pytest.raises(ValueError, match='no official splits .*no num_splits'):
        edits.split_numbers(cfg)
    with pytest.raises(ValueError, match='--split: no data set of this config'):
        edits.set_split(cfg, 1)


def test_data_root_reaches_query_and_gallery(read, tmp_path):
    cfg = read(MARS)
    edits.set_data_root(cfg, tmp_path / 'my data')
    assert [part.data_root for part in parts(cfg)] == [str(tmp_path / 'my data')] * 5
    assert 'data_root' not in cfg.test_dataloader.dataset


def test_dump_writes_features_of_the_test_only(read):
    cfg = read(MARS)
    edits.dump_scores(cfg, 'features.npz')
    assert cfg.test_evaluator == dict(
        type='ReIDMetric', distance='euclidean', feature_file='features.npz')
    assert 'feature_file' not in cfg.val_evaluator


def test_metric_settings(read):
    cfg = read(MARS)
    before = cfg.to_dict()
    edits.set_reid_metric(cfg, rerank=None, attributes=None)
    assert cfg.to_dict() == before
    edits.set_reid_metric(cfg, rerank=True, attributes=None)
    assert cfg.test_evaluator == dict(
        type='ReIDMetric', distance='euclidean', rerank=True)
    edits.set_reid_metric(cfg, rerank=None, attributes='a.csv')
    assert cfg.test_evaluator == dict(
        type='ReIDMetric', distance='euclidean', rerank=True, attributes='a.csv')
    assert cfg.val_evaluator == before['val_evaluator']


def test_metric_settings_reach_every_reid_metric():
    cfg = Config(dict(test_evaluator=[
        dict(type='ReIDMetric'), dict(type='DumpResults'), dict(type='ReIDMetric')]))
    edits.set_reid_metric(cfg, rerank=True)
    edits.dump_scores(cfg, 'x.npz')
    assert cfg.test_evaluator == [
        dict(type='ReIDMetric', rerank=True, feature_file='x.npz'),
        dict(type='DumpResults'),
        dict(type='ReIDMetric', rerank=True, feature_file='x.npz')]


def test_options_of_the_reranking_stay():
    options = dict(k1=10, k2=3)
    cfg = Config(dict(test_evaluator=dict(type='ReIDMetric', rerank=options)))
    edits.set_reid_metric(cfg, rerank=True)
    assert cfg.test_evaluator.rerank == options
    cfg.test_evaluator.rerank = False
    edits.set_reid_metric(cfg, rerank=True)
    assert cfg.test_evaluator.rerank is True


def test_metric_settings_of_an_action_config(read):
    cfg = read(ACTION)
    edits.set_reid_metric(cfg, rerank=None, attributes=None)  # nothing is asked for
    assert cfg.test_evaluator == dict(type='ActionMetric')
    with pytest.raises(ValueError, match='^--rerank, --attributes: for configs of '
                       're-identification, whose test_evaluator is a ReIDMetric'):
        edits.set_reid_metric(cfg, rerank=True, attributes='a.csv')


def test_swapped_test_data(read):
    cfg, other = read(MARS), read(ILIDS)
    own, theirs = read(MARS), other.to_dict()
    other.test_evaluator.distance = theirs['test_evaluator']['distance'] = 'cosine'

    edits.swap_test_data(cfg, other)

    for name in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        assert cfg[name] == theirs[name]
    assert cfg.num_splits == 10
    for name in ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator'):
        assert cfg[name] == own[name]
    edits.set_data_root(cfg, 'mine')
    edits.set_reid_metric(cfg, rerank=True)
    assert other.to_dict() == theirs  # what is tested is a copy


def test_swapped_test_data_without_splits(read):
    cfg = read(ILIDS)
    edits.swap_test_data(cfg, read(DUKE))
    assert 'num_splits' not in cfg
    assert cfg.test_dataloader.dataset.query.type == 'DukeMTMCVideoReID'
    assert cfg.train_dataloader.dataset.type == 'ILIDSVID'


@pytest.mark.parametrize(('own', 'other', 'types'), [
    (MARS, ACTION, ('ReIDMetric', 'ActionMetric')),
    (ACTION, MARS, ('ActionMetric', 'ReIDMetric'))])
def test_swap_of_another_kind_of_test(read, own, other, types):
    message = "--cross-dataset: this config is rated by ['{}'], the other by ['{}']"
    cfg = read(own)
    before = cfg.to_dict()
    with pytest.raises(ValueError, match=re.escape(message.format(*types))):
        edits.swap_test_data(cfg, read(other))
    assert cfg.to_dict() == before


def test_swap_with_a_config_without_test(read):
    with pytest.raises(ValueError, match='--cross-dataset: the other config has no '
                       'test_dataloader, test_cfg'):
        edits.swap_test_data(read(MARS), Config(dict(
            test_evaluator=dict(type='ReIDMetric'))))
