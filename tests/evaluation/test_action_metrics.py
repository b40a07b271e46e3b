"""Figures against plain loops and torch, score files against what was written."""
import logging
import os

import numpy as np
import pytest
import torch
from mmaction.evaluation import AccMetric
from mmaction.registry import METRICS
from mmaction.structures import ActionDataSample
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import DefaultScope

from cosam_mm.evaluation.metrics.action_metric import (
    ActionMetric,
    DumpScores,
    cross_entropy,
    load_scores,
    mean_class_accuracy,
    save_scores,
)


@pytest.fixture(autouse=True)
def _mmaction_scope():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


@pytest.fixture
def log(tmp_path):
    """Reads the log file so far."""
    name = f'test {tmp_path}'
    logger = MMLogger.get_instance(name, log_file=str(tmp_path / 'run.log'))
    yield lambda: (tmp_path / 'run.log').read_text()
    for handler in logger.handlers:
        handler.close()
    MMLogger._instance_dict.pop(name)


def make_samples(score, label, unreadable=()):
    samples = []
    for k, (row, own) in enumerate(zip(score, label)):
        meta = dict(img_shape=(8, 8), sample_id=f'clip {k}')
        if k in unreadable:
            meta['unreadable'] = True
        sample = ActionDataSample(metainfo=meta)
        sample.set_gt_label(int(own))
        sample.set_pred_score(torch.as_tensor(row))
        samples.append(sample)
    return samples


def evaluate(metrics, samples, dataset_meta=None):
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = dataset_meta
    for start in range(0, len(samples), 3):
        evaluator.process(samples[start:start + 3])
    return evaluator.evaluate(len(samples))


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(20, 6, generator=generator) * 3
    label = torch.randint(0, 5, (20,), generator=generator)  # class 5 never occurs
    return score, label


class TestActionMetric:

    def test_is_registered(self):
        metric = METRICS.build(dict(type='ActionMetric'))
        assert isinstance(metric, ActionMetric)
        assert isinstance(metric, AccMetric)

    def test_figures(self, data):
        score, label = data
        found = evaluate([dict(type='ActionMetric')], make_samples(score, label))
        order = score.argsort(dim=1, descending=True)
        hit = order == label[:, None]
        per_class = [hit[label == k, 0].float().mean() for k in label.unique()]
        assert found == {
            'acc/top1': pytest.approx(hit[:, 0].float().mean().item()),
            'acc/top3': pytest.approx(hit[:, :3].any(1).float().mean().item()),
            'acc/mean1': pytest.approx(torch.stack(per_class).mean().item()),
            'acc/cross_entropy': pytest.approx(
                torch.nn.functional.cross_entropy(score, label).item(), rel=1e-5)}
        assert all(type(value) is float for value in found.values())

    def test_probabilities(self, data):
        score, label = data
        samples = make_samples(score.softmax(dim=1), label)
        found = evaluate([ActionMetric(score_type='prob', topk=(2,))], samples)
        assert set(found) == {'acc/top2', 'acc/mean1', 'acc/cross_entropy'}
        assert found['acc/cross_entropy'] == pytest.approx(
            torch.nn.functional.cross_entropy(score, label).item(), rel=1e-5)

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_precision(self, data, dtype):
        score, label = data
        found = evaluate([ActionMetric()], make_samples(score.to(dtype), label))
        expected = evaluate(
            [ActionMetric()], make_samples(score.to(dtype).float(), label))
        assert found == expected

    def test_unreadable_clips_are_left_out(self, data, log):
        score, label = data
        bad = {3, 7, 19}
        good = [k for k in range(20) if k not in bad]
        found = evaluate([ActionMetric()], make_samples(score, label, bad))
        assert found.pop('acc/num_unreadable') == 3
        assert found == evaluate(
            [ActionMetric()], make_samples(score[good], label[good]))
        assert ("3 of 20 clips cannot be read and are left out of the metrics: "
                "'clip 3', 'clip 7', 'clip 19'.") in log()

    def test_all_unreadable(self, data):
        samples = make_samples(*data, unreadable=range(20))
        with pytest.raises(
                ValueError, match="None of the 20 clips can be read.*'clip 0'"):
            evaluate([ActionMetric()], samples)

    def test_no_sample(self):
        with pytest.raises(ValueError, match='no sample'):
            ActionMetric().compute_metrics([])

    def test_constant_scores_are_at_chance(self):
        samples = make_samples(torch.zeros(10, 10), range(10))
        found = evaluate([ActionMetric()], samples)
        assert found['acc/top1'] == pytest.approx(.1)
        assert found['acc/top3'] == pytest.approx(.3)

    def test_diverged_model(self):
        score = torch.full((4, 5), float('nan'))
        found = evaluate([ActionMetric()], make_samples(score, [0, 1, 2, 3]))
        assert found['acc/top1'] == found['acc/top3'] == 0
        assert np.isnan(found['acc/cross_entropy'])

    def test_metric_can_be_used_again(self, data):
        metric = ActionMetric()
        samples = make_samples(*data)
        assert evaluate([metric], samples) == evaluate([metric], samples)

    def test_label_without_score(self):
        with pytest.raises(ValueError, match=r'Label 4 in row 0 .* 3 classes'):
            evaluate([ActionMetric()], make_samples(torch.zeros(1, 3), [4]))

    @pytest.mark.parametrize(('kwargs', 'message'), [
        (dict(score_type='log'), "'logit', 'prob'.*got 'log'"),
        (dict(topk=()), r'topk .*got \(\)'),
        (dict(topk=[0]), r'at least 1, got \[0\]'),
        (dict(topk=[1.5]), r'topk must hold integers'),
    ])
    def test_bad_arguments(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            ActionMetric(**kwargs)


class TestCrossEntropy:

    def test_large_logits(self):
        loss = cross_entropy([[1e4, 0., -1e4], [1e4, 0., -1e4]], [0, 1])
        assert loss == pytest.approx(5e3)

    def test_probability_zero(self):
        loss = cross_entropy([[1., 0.]], [1], 'prob')
        assert loss == pytest.approx(-np.log(1e-12))

    @pytest.mark.parametrize('score', [[[3., -1.]], [[.2, .2]]])
    def test_no_probabilities(self, score):
        with pytest.raises(ValueError, match="Set score_type='logit'"):
            cross_entropy(score, [0], 'prob')


def test_mean_class_accuracy_weighs_classes_alike():
    score = np.eye(4)[[0, 0, 0, 1, 2, 3]]
    label = np.array([0, 0, 0, 0, 2, 1])  # 3 of 4, 1 of 1, 0 of 1
    assert mean_class_accuracy(score, label) == pytest.approx((.75 + 1 + 0) / 3)


@pytest.fixture
def scores():
    return dict(
        sample_id=np.array(['a/x (1)', 'b/ü']), label=np.array([0, 2]),
        score=np.array([[1, 2, 3], [4, 5, 6]], np.float32),
        unreadable=np.array([False, True]), dataset='hmdb51', split=2,
        score_type='logit')


class TestScoreFiles:

    def test_dump(self, data, tmp_path):
        score, label = data
        path = str(tmp_path / 'new folder' / 'rgb.npz')
        metric = ROOT_METRICS.build(dict(type='DumpScores', out_file=path))
        assert isinstance(metric, DumpScores)
        found = evaluate(
            [metric, ActionMetric()], make_samples(score, label, unreadable={4}),
            dict(dataset='hmdb51', split=2, classes=('a', 'b')))
        assert found['acc/num_unreadable'] == 1
        assert set(found) == {'acc/top1', 'acc/top3', 'acc/mean1', 'acc/cross_entropy',
                              'acc/num_unreadable'}
        read = load_scores(path)
        np.testing.assert_array_equal(read['score'], score.numpy())
        np.testing.assert_array_equal(read['label'], label.numpy())
        assert read['sample_id'].tolist() == [f'clip {k}' for k in range(20)]
        assert np.flatnonzero(read['unreadable']).tolist() == [4]
        assert (read['dataset'], read['split'], read['score_type']) == (
            'hmdb51', 2, 'logit')
        assert os.listdir(tmp_path / 'new folder') == ['rgb.npz']

    def test_data_set_that_does_not_say_what_it_is(self, data, tmp_path):
        path = str(tmp_path / 'a.npz')
        evaluate([DumpScores(path, score_type='prob')], make_samples(*data))
        read = load_scores(path)
        assert (read['dataset'], read['split'], read['score_type']) == ('', 0, 'prob')

    def test_round_trip_without_pickle(self, scores, tmp_path):
        path = str(tmp_path / 'a.npz')
        save_scores(path, scores)
        with np.load(path, allow_pickle=False) as file:
            assert all(file[key].dtype != object for key in file.files)
        read = load_scores(path)
        assert set(read) == set(scores)
        for key in scores:
            np.testing.assert_array_equal(read[key], scores[key])

    def test_a_failed_write_leaves_the_old_file(self, scores, tmp_path, monkeypatch):
        path = str(tmp_path / 'a.npz')
        save_scores(path, scores)

        def fail(file, **arrays):
            file.write(b'half')
            raise OSError('disk full')

        monkeypatch.setattr(np, 'savez_compressed', fail)
        with pytest.raises(OSError, match='disk full'):
            save_scores(path, {**scores, 'split': 3})
        assert load_scores(path)['split'] == 2
        assert os.listdir(tmp_path) == ['a.npz']

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'none\.npz.*does not exist'):
            load_scores(str(tmp_path / 'none.npz'))

    @pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x03\x04 torn'])
    def test_other_file(self, tmp_path, content):
        path = tmp_path / 'a.npz'
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'a\.npz is not a score file'):
            load_scores(str(path))

    def test_pickled_arrays_are_refused(self, scores, tmp_path):
        path = str(tmp_path / 'a.npz')
        scores['sample_id'] = np.array(['a', None], dtype=object)
        np.savez(path, **scores)
        with pytest.raises(ValueError, match='not a score file.*allow_pickle=False'):
            load_scores(path)
        array = str(tmp_path / 'array.npz')
        with open(array, 'wb') as file:
            np.save(file, np.zeros(3))
        with pytest.raises(ValueError, match='not a score file'):
            load_scores(array)

    @pytest.mark.parametrize(('key', 'value', 'message'), [
        ('label', np.array([0, 1, 2]), r"'label' is int64 of shape \(3,\)"),
        ('label', np.array([0., 1.]), "'label' is float64"),
        ('score', np.zeros((3, 2), np.float32), r"'score' .* shape \(3, 2\)"),
        ('score', np.zeros(2, np.float32), r"'score' .* shape \(2,\)"),
        ('sample_id', np.array([1, 2]), "'sample_id' is int64"),
        ('unreadable', np.array(False), r"'unreadable' .* shape \(\)"),
        ('split', np.array([1]), "'split'"),
    ])
    def test_arrays_that_do_not_fit(self, scores, tmp_path, key, value, message):
        path = str(tmp_path / 'a.npz')
        np.savez(path, **{**scores, key: value})
        with pytest.raises(ValueError, match=message):
            load_scores(path)

    def test_missing_array(self, scores, tmp_path):
        del scores['label'], scores['split']
        path = str(tmp_path / 'a.npz')
        np.savez(path, **scores)
        with pytest.raises(ValueError, match=r"lacks \['label', 'split'\]"):
            load_scores(path)

    def test_sample_without_name(self, data, tmp_path):
        samples = make_samples(*data)
        for sample in samples:
            sample.pop('sample_id')
        with pytest.raises(ValueError, match="no 'sample_id'.*meta_keys"):
            evaluate([DumpScores(str(tmp_path / 'a.npz'))], samples)

    def test_nothing_to_write(self, tmp_path):
        with pytest.raises(ValueError, match='no score to write'):
            DumpScores(str(tmp_path / 'a.npz')).compute_metrics([])

    @pytest.mark.parametrize(('kwargs', 'message'), [
        (dict(out_file='a.pkl'), r"end in \.npz, got 'a\.pkl'"),
        (dict(out_file='a.npz', score_type='x'), "'logit', 'prob'"),
    ])
    def test_bad_arguments(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            DumpScores(**kwargs)


def test_logging_level_of_names(data, tmp_path, log):
    evaluate([ActionMetric()], make_samples(*data, unreadable={1}))
    assert f' {logging.getLevelName(logging.WARNING)} - 1 of 20' in log()
