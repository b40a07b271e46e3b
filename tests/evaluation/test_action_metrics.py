"""Metrics against plain loops and torch, score files against what was written."""
import hashlib
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
    load_scores,
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

    @pytest.mark.parametrize('score_type', ['logit', 'prob'])
    def test_metrics(self, data, score_type):
        score, label = data
        metric = METRICS.build(dict(type='ActionMetric', score_type=score_type))
        assert isinstance(metric, ActionMetric)
        assert isinstance(metric, AccMetric)
        samples = make_samples(
            score if score_type == 'logit' else score.softmax(dim=1), label)
        found = evaluate([metric], samples)
        hit = score.argsort(dim=1, descending=True) == label[:, None]
        per_class = [hit[label == k, 0].float().mean() for k in label.unique()]
        assert found == {
            'acc/top1': pytest.approx(hit[:, 0].float().mean().item()),
            'acc/top3': pytest.approx(hit[:, :3].any(1).float().mean().item()),
            'acc/mean1': pytest.approx(torch.stack(per_class).mean().item()),
            'acc/cross_entropy': pytest.approx(
                torch.nn.functional.cross_entropy(score, label).item(), rel=1e-5)}
        assert all(type(value) is float for value in found.values())
        assert evaluate([metric], samples) == found  # it can be used again

    def test_classes_weigh_alike(self):
        score = torch.eye(4)[[0, 0, 0, 1, 2, 3]]
        samples = make_samples(score, [0, 0, 0, 0, 2, 1])  # 3 of 4, 1 of 1, 0 of 1
        found = evaluate([ActionMetric(topk=2)], samples)
        assert set(found) == {'acc/top2', 'acc/mean1', 'acc/cross_entropy'}
        assert found['acc/mean1'] == pytest.approx((.75 + 1 + 0) / 3)

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_precision(self, data, dtype):
        score, label = data[0].to(dtype), data[1]
        assert evaluate([ActionMetric()], make_samples(score, label)) == evaluate(
            [ActionMetric()], make_samples(score.float(), label))

    def test_unreadable_clips_are_left_out(self, data, log):
        score, label = data
        bad = {3, 7, 19}
        good = [k for k in range(20) if k not in bad]
        found = evaluate([ActionMetric()], make_samples(score, label, bad))
        assert found.pop('acc/num_unreadable') == 3
        assert found == evaluate(
            [ActionMetric()], make_samples(score[good], label[good]))
        warning = next(line for line in log().splitlines() if 'WARNING' in line)
        for word in ('3 of 20', "'clip 3'", "'clip 7'", "'clip 19'"):
            assert word in warning

    def test_constant_scores_are_at_chance(self):
        found = evaluate([ActionMetric()], make_samples(torch.zeros(10, 10), range(10)))
        assert found['acc/top1'] == pytest.approx(.1)
        assert found['acc/top3'] == pytest.approx(.3)

    @pytest.mark.parametrize('value', ['nan', 'inf', '-inf'])
    def test_diverged_model(self, tmp_path, value):
        """No class 0, and the scores are kept."""
        score, path = torch.zeros(4, 5), str(tmp_path / 'a.npz')
        score[2, 3] = float(value)
        samples, metrics = make_samples(score, [0] * 4), [DumpScores(path),
                                                          ActionMetric()]
        with pytest.raises(ValueError, match="1 of 4 clips.*'clip 2'"):
            evaluate(metrics, samples)
        assert not np.isfinite(load_scores(path)['score'][2]).all()
        samples[2].set_metainfo(dict(unreadable=True))  # such scores mean nothing
        assert evaluate([ActionMetric()], samples)['acc/top1'] == 1

    @pytest.mark.parametrize(('score', 'label', 'options', 'word'), [
        (torch.zeros(1, 3), [4], {}, 'Label 4'),
        (torch.tensor([[3., -1.]]), [0], dict(score_type='prob'), 'sum to 1'),
        (torch.tensor([[.2, .2]]), [0], dict(score_type='prob'), 'sum to 1')])
    def test_bad_scores(self, score, label, options, word):
        with pytest.raises(ValueError, match=word):
            evaluate([ActionMetric(**options)], make_samples(score, label))

    def test_nothing_to_evaluate(self, data):
        with pytest.raises(ValueError, match="'clip 0'"):
            evaluate([ActionMetric()], make_samples(*data, unreadable=range(20)))
        with pytest.raises(ValueError, match='no sample'):
            ActionMetric().compute_metrics([])

    @pytest.mark.parametrize(('kwargs', 'word'), [
        (dict(score_type='log'), "'log'"), (dict(topk=()), 'topk'),
        (dict(topk=[0]), 'topk'), (dict(topk=[1.5]), 'topk')])
    def test_bad_arguments(self, kwargs, word):
        with pytest.raises(ValueError, match=word):
            ActionMetric(**kwargs)


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
            dict(dataset='hmdb51', split=2, classes=tuple('abcdef')))
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

    def test_what_made_them(self, data, tmp_path):
        score, label = data
        path, samples = str(tmp_path / 'a.npz'), make_samples(score, label)
        meta = dict(classes=list('abcdef'), weights_sha256='0' * 64, checkpoint='b.pth')
        found = evaluate([DumpScores(path), ActionMetric()], samples, meta)
        lines = ''.join(f'clip {k}\t{own}\n' for k, own in enumerate(label))
        expected = dict(meta, list_sha256=hashlib.sha256(lines.encode()).hexdigest())
        read = load_scores(path)
        for key in ('weights_sha256', 'checkpoint', 'list_sha256'):
            assert read[key] == found[f'acc/{key}'] == expected[key]
        assert read['classes'].tolist() == meta['classes']
        assert found['acc/classes_sha256'] == hashlib.sha256(
            b'a\nb\nc\nd\ne\nf\n').hexdigest()
        assert found['acc/num_unreadable'] == 0
        plain = evaluate([ActionMetric()], samples[1:], dict(meta, classes=None))
        assert plain['acc/list_sha256'] != found['acc/list_sha256']

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
        assert {key: len(read[key]) for key in set(read) - set(scores)} == dict(
            classes=0, weights_sha256=0, checkpoint=0, list_sha256=0)
        for key in scores:
            np.testing.assert_array_equal(read[key], scores[key])

    def test_no_score_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='none'):
            load_scores(str(tmp_path / 'none.npz'))
        (tmp_path / 'a.npz').write_bytes(b'PK\x03\x04 torn')
        with pytest.raises(ValueError, match='score file'):
            load_scores(str(tmp_path / 'a.npz'))

    @pytest.mark.parametrize(('key', 'value', 'word'), [
        ('label', np.array([0, 1, 2]), 'label'), ('label', np.array([0., 1.]), 'label'),
        ('score', np.zeros((3, 2), np.float32), 'score'),
        ('score', np.zeros(2, np.float32), 'score'),
        ('sample_id', np.array([1, 2]), 'sample_id'),
        ('sample_id', np.array(['a', None], object), 'pickle'),
        ('unreadable', np.array(False), 'unreadable'),
        ('split', np.array([1]), 'split'), ('label', None, 'lacks'),
        ('classes', np.array(['a', 'b']), 'classes'),
        ('weights_sha256', np.array(['a', 'b']), 'weights')])
    def test_arrays_that_do_not_fit(self, scores, tmp_path, key, value, word):
        path = str(tmp_path / 'a.npz')
        scores[key] = value
        np.savez(path, **{k: v for k, v in scores.items() if v is not None})
        with pytest.raises(ValueError, match=word):
            load_scores(path)

    def test_nothing_to_write(self, data, tmp_path):
        samples, metric = make_samples(*data), DumpScores(str(tmp_path / 'a.npz'))
        samples[1].pop('sample_id')
        with pytest.raises(ValueError, match='sample_id'):
            evaluate([metric], samples)
        with pytest.raises(ValueError, match='no score'):
            metric.compute_metrics([])

    @pytest.mark.parametrize(('kwargs', 'word'), [
        (dict(out_file='a.pkl'), 'a.pkl'),
        (dict(out_file='a.npz', score_type='x'), "'x'")])
    def test_bad_arguments(self, kwargs, word):
        with pytest.raises(ValueError, match=word):
            DumpScores(**kwargs)
