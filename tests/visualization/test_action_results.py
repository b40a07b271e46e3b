"""Score files read, named and compared, against metrics worked out by hand."""
import math

import numpy as np
import pytest
import torch

from cosam_mm.evaluation.metrics.action_metric import ActionMetric, save_scores
from cosam_mm.visualization.action_results import (
    compare_results,
    find_class_names,
    read_results,
)

IDS = ['walk/a', 'walk/b', 'run/c', 'run/d', 'jump/e', 'jump/f']
LABEL = [0, 0, 1, 1, 2, 2]
# Probabilities: right are a, c and f; b is nearly right; d and e are taken for walk.
PROB = np.array([[.8, .1, .1], [.4, .5, .1], [.2, .7, .1], [.9, .05, .05],
                 [.6, .2, .2], [.1, .1, .8]])


def write(path, prob=PROB, order=range(6), **changes):
    order = list(order)
    scores = dict(
        sample_id=np.array(IDS)[order], score=np.asarray(prob)[order],
        label=np.array(LABEL)[order], unreadable=np.zeros(6, bool)[order],
        dataset='moves', split=2, score_type='prob')
    save_scores(str(path), {**scores, **changes})
    return path


@pytest.fixture
def results(tmp_path):
    return read_results(write(tmp_path / 'scores.npz'))


class TestResults:

    def test_metrics_are_those_of_the_test(self, results):
        metric = ActionMetric(topk=(1, 2), score_type='prob')
        expected = pytest.approx(metric.calculate(list(PROB), list(LABEL)))
        assert results.metrics((1, 2, 3)) == expected
        assert results.metrics()['top1'] == .5

    def test_of_logits(self, results, tmp_path):
        found = read_results(write(tmp_path / 's.npz', np.log(PROB) + 7,
                                   score_type='logit'))
        np.testing.assert_allclose(found.probability, PROB, atol=1e-6)
        assert found.metrics() == pytest.approx(results.metrics(), rel=1e-5)

    def test_clips_and_words(self, results):
        assert results.matrix.tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1]]
        # d .05, e .2, b .4 of their true classes; then the right ones.
        assert results.hardest(4).tolist() == [3, 4, 1, 2]
        assert results.nearest(9).tolist() == [1, 4, 3]
        assert [pair[:2] for pair in results.pairs(9)] == [(0, 1), (1, 0), (2, 0)]
        names = ['walk', 'run', 'jump']
        assert results.mistake(3, names) == 'run taken for walk'
        assert results.mistake(0, names) == 'walk, rightly'
        assert results.verdict(3, names) == 'walk (90.0%)'
        assert results.certainty(3) == 'true class 5.0%, predicted 90.0%'

    def test_unreadable_clips_are_left_out(self, tmp_path):
        unreadable = np.array([False, True, False, False, True, False])
        found = read_results(write(tmp_path / 's.npz', unreadable=unreadable))
        assert found.sample_id.tolist() == ['walk/a', 'run/c', 'run/d', 'jump/f']
        assert found.unreadable == ('walk/b', 'jump/e')
        assert found.metrics()['top1'] == .75

    def test_scores_that_are_no_numbers(self, tmp_path):
        prob = PROB.copy()
        prob[0, 2] = math.nan
        with pytest.raises(ValueError, match="s.npz: 1 of 6 clips.*'walk/a'"):
            read_results(write(tmp_path / 's.npz', prob))

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(unreadable=np.ones(6, bool)), 'none'),
        (dict(score=np.full((6, 100_000), 1e-5)), 's.npz .*100,000'),
        (dict(label=[0, 0, 1, 1, 2, 3]), 's.npz: .*3'),
        (dict(label=[0, 0, 1, 1, 2, -1]), 's.npz: .*-1')])
    def test_results_without_valid_clips_are_refused(self, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            read_results(write(tmp_path / 's.npz', **changes))


class TestClassNames:

    def test_first_of_a_file_then_of_the_data_root_then_of_the_config(self, results,
                                                                      tmp_path):
        (tmp_path / 'names.txt').write_text('p\nq\nr\n')
        (tmp_path / 'moves_classes.txt').write_text('a\nb\nc\n')
        for arguments, expected in [
                ((tmp_path / 'names.txt', tmp_path), 'pqr'), ((None, tmp_path), 'abc'),
                ((None, tmp_path / 'none'), 'xyz')]:
            names = find_class_names(results, *arguments,
                                     dataset=dict(metainfo=dict(classes='xyz')))
            assert ''.join(names) == expected

    def test_those_of_the_score_file_come_first(self, tmp_path):
        found = read_results(write(tmp_path / 's.npz', classes=list('pqr')))
        (tmp_path / 'moves_classes.txt').write_text('r\nq\np\n')
        assert find_class_names(found, data_root=tmp_path) == ('p', 'q', 'r')
        for text, expected in (('a\nb\nc\n', 'abc'), ('p\nq\nr\n', 'pqr')):
            (tmp_path / 'names.txt').write_text(text)
            assert ''.join(find_class_names(found, tmp_path / 'names.txt')) == expected
        with pytest.raises(ValueError, match="0 is 'p'"):
            find_class_names(found, tmp_path / 'moves_classes.txt')

    def test_a_name_of_a_data_set_leads_nowhere_else(self, tmp_path):
        (tmp_path / 'other_classes.txt').write_text('a\nb\nc\n')
        (tmp_path / 'root').mkdir()
        found = read_results(write(tmp_path / 's.npz', dataset='../other'))
        assert find_class_names(found, data_root=tmp_path / 'root') == (
            'walk', 'run', 'jump')

    def test_of_a_checkpoint(self, results, tmp_path):
        path = tmp_path / 'epoch_1.pth'
        torch.save(dict(meta=dict(dataset_meta=dict(classes=('p', 'q', 'r'))),
                        state_dict={}), path)
        assert find_class_names(results, checkpoint=path) == ('p', 'q', 'r')
        torch.save(dict(state_dict={}), path)
        assert find_class_names(results, checkpoint=path) == ('walk', 'run', 'jump')

    @pytest.mark.parametrize(('ids', 'expected'), [
        (['a', 'b', 'c', 'd', 'e', 'f'], ('class 0', 'class 1', 'class 2')),
        (['x/a', 'z/b', 'run/c', 'run/d', 'deep/y/e', 'deep/y/f'],
         ('class 0', 'run', 'y'))])
    def test_of_folders(self, tmp_path, ids, expected):
        found = read_results(write(tmp_path / 's.npz', sample_id=ids))
        assert find_class_names(found) == expected

    def test_errors(self, results, tmp_path):
        with pytest.raises(FileNotFoundError, match='none.txt'):
            find_class_names(results, 'none.txt')
        (tmp_path / 'two.txt').write_text('a\nb\n')
        with pytest.raises(ValueError, match='two.txt'):
            find_class_names(results, tmp_path / 'two.txt')
        with pytest.raises(ValueError, match='2 names'):
            find_class_names(results, dataset=dict(metainfo=dict(classes='ab')))


class TestComparison:

    OTHER = np.array([[.1, .8, .1], [.9, .05, .05], [.2, .7, .1], [.1, .6, .3],
                      [.6, .2, .2], [.1, .1, .8]])

    def test_clips_are_matched_by_name(self, results, tmp_path):
        other = read_results(write(tmp_path / 'o.npz', self.OTHER, [5, 3, 1, 0, 2, 4]))
        found = compare_results(results, other)
        assert found.second.sample_id.tolist() == IDS
        outcome = found.outcome
        assert outcome.only_first.tolist() == [0]
        assert outcome.only_second.tolist() == [1, 3]
        assert outcome.both.tolist() == [2, 5]
        assert outcome.neither.tolist() == [4]
        assert found.class_gain.tolist() == [[1, 1, 0], [1, 0, 0]]
        assert outcome.p_value == 1
        assert 'the second has 2' in found.describe_p_value()
        # b is won at .9, d at .6; a is lost.
        assert found.changed() == [(1, True), (3, True), (0, False)]

    def test_clips_that_either_cannot_read_are_left_out(self, tmp_path):
        mine = read_results(write(tmp_path / 'a.npz', unreadable=np.arange(6) == 1))
        other = read_results(write(tmp_path / 'b.npz', self.OTHER,
                                   unreadable=np.arange(6) == 4))
        found = compare_results(mine, other)
        assert found.first.sample_id.tolist() == ['walk/a', 'run/c', 'run/d', 'jump/f']
        assert found.outcome.only_second.tolist() == [2]

    @pytest.mark.parametrize(('changes', 'word'), [
        (dict(sample_id=[*IDS[:5], 'jump/x']), 'lacks 1'),
        (dict(label=[0, 0, 1, 1, 2, 1]), 'label'), (dict(prob=np.eye(6, 4)), 'classes'),
        (dict(classes=list('qpr')), "0 is 'p'"),
        (dict(unreadable=np.arange(6) % 2 == 1), 'both')])
    def test_results_of_different_clips_are_refused(self, tmp_path, changes, word):
        first = read_results(write(tmp_path / 'f.npz', unreadable=np.arange(6) % 2 == (
            0 if word == 'both' else 2), classes=list('pqr')))
        with pytest.raises(ValueError, match=word):
            compare_results(first, read_results(write(tmp_path / 'o.npz', **changes)))
