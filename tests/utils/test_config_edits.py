"""What the command-line tools change in a config, and what they refuse."""
import pytest
from mmengine.config import Config

from cosam_mm.utils import config as edits
from cosam_mm.utils.training_settings import skip_validation

HMDB51 = 'resnext101_cosam_bert_hmdb51.py'
MARS, DUKE, ILIDS = (
    f'reid/resnet50_tp_{name}.py' for name in ('mars', 'dukemtmc', 'ilids'))
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def files_of(cfg):
    """The data sets that have files: queries and gallery where a test has both."""
    for name in LOADERS:
        dataset = cfg[name].dataset
        yield from ((dataset.query, dataset.gallery) if 'query' in dataset
                    else (dataset,))


@pytest.mark.parametrize(('name', 'split', 'count'), [(HMDB51, 3, 3), (ILIDS, 10, 5)])
def test_split_and_data_root_reach_every_data_set(read, name, split, count):
    cfg = read(name)
    edits.set_split(cfg, split)
    edits.set_data_root(cfg, 'my data')
    assert [(d.split, d.data_root) for d in files_of(cfg)] == [
        (split, 'my data')] * count
    assert edits.split_of_test(cfg) == split
    if count == 5:
        assert not {'split', 'data_root'} & cfg.test_dataloader.dataset.keys()


def test_split_and_data_root_reach_into_wrappers(cfg):
    plain = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2,
        dataset=dict(type='ConcatDataset', datasets=[dict(plain), dict(plain)]))
    skip_validation(cfg)  # a loader that is not there is passed over
    edits.set_split(cfg, 2)
    edits.set_data_root(cfg, 'x')
    wrapper = cfg.train_dataloader.dataset
    assert set(wrapper) == {'type', 'times', 'dataset'}
    assert [(d.split, d.data_root) for d in wrapper.dataset.datasets] == [(2, 'x')] * 2
    assert cfg.test_dataloader.dataset.split == 2


@pytest.mark.parametrize(('name', 'split', 'numbers', 'message'), [
    (ILIDS, 0, range(1, 11), '1 to 10'), (ILIDS, 11, range(1, 11), '1 to 10'),
    (MARS, 1, None, '--split'), (DUKE, 1, None, '--split')])
def test_a_split_that_there_is_not(read, name, split, numbers, message):
    cfg = read(name)
    with pytest.raises(ValueError, match=message):
        edits.set_split(cfg, split)
    if numbers is None:
        assert edits.split_of_test(cfg) is None
        with pytest.raises(ValueError, match='num_splits'):
            edits.split_numbers(cfg)
    else:
        assert edits.split_numbers(cfg) == numbers


@pytest.mark.parametrize(('own', 'split', 'expected'), [
    (None, None, 'work_dirs/some_config'), (None, 2, 'work_dirs/some_config/split2'),
    ('mine', None, 'mine'), ('mine', 3, 'mine/split3')])
def test_default_work_dir(own, split, expected):
    cfg = Config(dict(work_dir=own) if own else {})
    assert edits.default_work_dir(cfg, 'far/some_config.py', split) == expected


def test_force_reaches_the_hook(cfg):
    assert not cfg.custom_hooks[0].force
    before = len(cfg.custom_hooks)
    edits.check_checkpoint(cfg)
    assert not cfg.custom_hooks[0].force
    edits.check_checkpoint(cfg, force=True)
    assert cfg.custom_hooks[0].force
    assert len(cfg.custom_hooks) == before
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook')]))
    edits.check_checkpoint(cfg, force=True)  # a config that lacks the hook
    assert cfg.custom_hooks == [dict(type='EMAHook'),
                                dict(type='SplitLeakageHook', force=True)]


@pytest.mark.parametrize(('averaged', 'score_type'), [
    (None, 'logit'), ('score', 'logit'), ('prob', 'prob')])
def test_dump_scores(cfg, averaged, score_type):
    if averaged:
        cfg.model.cls_head.average_clips = averaged
    for name in ('x.npz', 'y.npz'):
        edits.dump_scores(cfg, name)
    assert cfg.test_evaluator == [*(
        dict(type='DumpScores', out_file=name, score_type=score_type)
        for name in ('y.npz', 'x.npz')), dict(type='ActionMetric')]
    assert cfg.val_evaluator == dict(type='ActionMetric')


@pytest.mark.parametrize(('name', 'shape'), [
    (HMDB51, (3, 64, 112, 112)), ('i3d_bert_ucf101_flow.py', (2, 64, 224, 224)),
    ('tsn_r50_hmdb51.py', (3, 8, 224, 224))])
def test_input_shape(read, name, shape):
    assert edits.input_shape(read(name)) == shape


def test_input_shape_of_an_oblong_crop_and_of_none(cfg):
    pipeline = cfg.test_dataloader.dataset.pipeline
    crop = next(step for step in pipeline if step.type == 'TenCrop')
    crop.crop_size = (96, 48)  # (width, height)
    assert edits.input_shape(cfg) == (3, 64, 48, 96)
    pipeline.remove(crop)
    with pytest.raises(ValueError, match='--shape'):
        edits.input_shape(cfg)


@pytest.mark.parametrize(('options', 'words'), [
    ({'model.cls_head.num_classes': 2}, 'cls_head.num_classes=2.*dataset.*=51'),
    ({'train_dataloader.dataset.num_classes': 7}, 'train_dataloader.*=7'),
    ({'val_dataloader.dataset.num_classes': 7}, 'val_dataloader.*=7'),
    ({'train_dataloader.dataset': dict(type='RepeatDataset', dataset=dict(
        type='ConcatDataset', datasets=[dict(num_classes=9)]))}, r'datasets\.0.*=9'),
    ({'model.data_preprocessor.blending': dict(
        type='RandomBatchAugment', augments=[dict(type='MixupBlending',
                                                  num_classes=400)])}, '0.*=400'),
    ({'val_evaluator': [dict(type='ActionMetric', topk=(1, 99))]}, 'topk.*99'),
    ({'val_evaluator.num_classes': 50}, 'val_evaluator.*50'),
    ({'train_dataloader.dataset.metainfo': dict(classes=('a', 'b'))}, 'classes=2'),
    ({'model.cls_head.multi_class': True}, 'cls_head.multi_class'),
    ({'train_dataloader.dataset.multi_class': True}, 'multi_class')])
def test_class_counts_that_disagree(cfg, options, words):
    edits.check_classes(cfg, 'train', 'val')
    cfg.merge_from_dict(options)
    with pytest.raises(ValueError, match=words):
        edits.check_classes(cfg, 'train', 'val')
    skip_validation(cfg)
    if not words.startswith(('val', 'topk')):
        with pytest.raises(ValueError, match=words):
            edits.check_classes(cfg, 'train', 'val')


def test_list_of_classes(cfg, tmp_path):
    edits.set_data_root(cfg, tmp_path)
    file = tmp_path / 'hmdb51_classes.txt'
    file.write_text('\n'.join(map(str, range(51))) + '\n')
    edits.check_classes(cfg, 'test')
    file.write_text('wave\nrun\n')
    with pytest.raises(ValueError, match='classes.txt=2'):
        edits.check_classes(cfg, 'test')


# -- re-identification ---------------------------------------------------------


def test_metric_settings_and_features_of_the_test_only(read):
    cfg = read(MARS)
    before = cfg.to_dict()
    edits.set_reid_metric(cfg, rerank=None, attributes=None)
    assert cfg.to_dict() == before
    edits.set_reid_metric(cfg, rerank=True, attributes=None)
    edits.set_reid_metric(cfg, rerank=None, attributes='a.csv')
    edits.dump_scores(cfg, 'features.npz')
    assert cfg.test_evaluator == dict(
        type='ReIDMetric', distance='euclidean', rerank=True, attributes='a.csv',
        feature_file='features.npz')
    assert cfg.val_evaluator == before['val_evaluator']


def test_metric_settings_reach_every_reid_metric():
    options = dict(k1=10, k2=3)  # of a re-ranking, which stay
    cfg = Config(dict(test_evaluator=[
        dict(type='ReIDMetric', rerank=False), dict(type='DumpResults'),
        dict(type='ReIDMetric', rerank=options)]))
    edits.set_reid_metric(cfg, rerank=True)
    edits.dump_scores(cfg, 'x.npz')
    assert cfg.test_evaluator == [
        dict(type='ReIDMetric', rerank=True, feature_file='x.npz'),
        dict(type='DumpResults'),
        dict(type='ReIDMetric', rerank=options, feature_file='x.npz')]


def test_metric_settings_of_an_action_config(cfg):
    edits.set_reid_metric(cfg, rerank=None, attributes=None)  # nothing is asked for
    assert cfg.test_evaluator == dict(type='ActionMetric')
    with pytest.raises(ValueError, match='--rerank, --attributes'):
        edits.set_reid_metric(cfg, rerank=True, attributes='a.csv')


def test_swapped_test_data(read):
    cfg, other = read('reid/resnet14_tp_demo_strong.py'), read(ILIDS)
    cfg.test_evaluator.update(rerank=dict(k1=7), attributes='own.csv')
    other.test_evaluator.attributes = 'theirs.csv'
    own, theirs = cfg.to_dict(), other.to_dict()
    edits.swap_test_data(cfg, other)
    assert cfg.test_evaluator == dict(type='ReIDMetric', distance='cosine',
                                      rerank=dict(k1=7), attributes='theirs.csv')
    for part in ('query', 'gallery'):
        before = own['test_dataloader']['dataset'][part]
        dataset = theirs['test_dataloader']['dataset'][part]
        assert before['pipeline'] != dataset['pipeline']
        assert cfg.test_dataloader.dataset[part] == dict(
            dataset, pipeline=before['pipeline'])
    assert cfg.test_dataloader.batch_size == own['test_dataloader']['batch_size']
    assert cfg.num_splits == 10
    for name in ('model', 'train_dataloader', 'val_dataloader', 'val_evaluator',
                 'test_cfg'):
        assert cfg[name] == own[name]
    edits.set_data_root(cfg, 'mine')
    edits.set_reid_metric(cfg, rerank=True)
    assert other.to_dict() == theirs  # what is tested is a copy
    edits.swap_test_data(cfg, read(DUKE))
    assert 'num_splits' not in cfg


@pytest.mark.parametrize(('other', 'message'), [
    (HMDB51, 'ReIDMetric.*ActionMetric'), (None, 'test_dataloader, test_cfg')])
def test_swap_with_another_kind_of_test_or_none(read, other, message):
    cfg = read(MARS)
    before = cfg.to_dict()
    other = read(other) if other else Config(dict(
        test_evaluator=dict(type='ReIDMetric')))
    with pytest.raises(ValueError, match=message):
        edits.swap_test_data(cfg, other)
    assert cfg.to_dict() == before
