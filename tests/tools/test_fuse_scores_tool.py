"""``tools/fuse_scores.py`` as a process, against values worked out by hand."""
import numpy as np
import pytest

from cosam_mm.evaluation.metrics.action_metric import load_scores, save_scores
from tests.tool_process import assert_refused

# Logits of 4 clips and 3 classes. RGB hits clips 0 and 1, flow hits 1, 2 and 3; the
# mean of the probabilities hits 0, 1 and 2.
LABEL = np.array([0, 1, 2, 0])
RGB = np.array([[4, 0, 0], [0, 3, 0], [1, 0, 0], [0, 9, 0]], np.float32)
FLOW = np.array([[0, 0, 1], [0, 3, 0], [0, 0, 4], [1, 0, 0]], np.float32)
NAMES = np.array(['a/0', 'a/1 (b)', 'c', 'd'])


def write(path, stream, order=(0, 1, 2, 3), **changes):
    order = list(order)
    save_scores(str(path), dict(dict(
        sample_id=NAMES[order], score=stream[order], label=LABEL[order],
        unreadable=np.zeros(len(order), bool), dataset='hmdb51', split=2,
        score_type='logit'), **changes))


@pytest.fixture
def files(tmp_path):
    """Two streams that went through the clips in different orders."""
    write(tmp_path / 'rgb.npz', RGB)
    write(tmp_path / 'flow.npz', FLOW, order=(3, 1, 0, 2))
    return tmp_path


def softmax(score):
    exp = np.exp(np.float64(score))
    return exp / exp.sum(axis=1, keepdims=True)


def top1(score):
    return np.mean(np.argmax(score, axis=1) == LABEL)


def rows(printed):
    """First word of each line -> the others."""
    return {line.split()[0]: line.split()[1:] for line in printed.splitlines()}


def test_mean_of_probabilities(nest, files):
    done = nest.ok('tools/fuse_scores.py', 'rgb.npz', 'flow.npz', '--out',
                   'new/fused.npz', cwd=files)
    expected = (softmax(RGB) + softmax(FLOW)) / 2
    assert (top1(RGB), top1(FLOW), top1(expected)) == (0.5, 0.75, 0.75)
    printed = rows(done.stdout)
    assert printed['rgb.npz'] == ['top1', '0.5000', 'top3', '1.0000']
    assert printed['flow.npz'] == ['top1', '0.7500', 'top3', '1.0000']
    assert printed['fused'] == ['top1', '0.7500', 'top3', '1.0000']
    fused = load_scores(files / 'new' / 'fused.npz')
    np.testing.assert_allclose(fused['score'], expected, rtol=1e-5)
    assert fused['sample_id'].tolist() == NAMES.tolist()
    assert fused['label'].tolist() == LABEL.tolist()
    assert (fused['dataset'], fused['split'], fused['score_type']) == (
        'hmdb51', 2, 'prob')


def test_weights_and_a_long_name(nest, files):
    name = 'scores of the network that looks at colours.npz'
    (files / 'rgb.npz').rename(files / name)
    done = nest.ok('tools/fuse_scores.py', name, 'flow.npz', '--weights', 3, 1,
                   '--topk', 1, 2, '--out', 'out.npz', cwd=files)
    expected = 0.75 * softmax(RGB) + 0.25 * softmax(FLOW)
    assert top1(expected) == 0.5  # and 0.75 the other way round
    assert top1(0.25 * softmax(RGB) + 0.75 * softmax(FLOW)) == 0.75
    np.testing.assert_allclose(load_scores(files / 'out.npz')['score'], expected,
                               rtol=1e-5)
    lines = done.stdout.splitlines()
    assert f'{name}  top1 0.5000  top2 0.7500' in lines
    assert rows(done.stdout)['fused'][:2] == ['top1', '0.5000']


def test_raw_scores(nest, files):
    done = nest.ok('tools/fuse_scores.py', 'rgb.npz', 'flow.npz', '--raw', '--out',
                   'raw.npz', cwd=files)
    raw = load_scores(files / 'raw.npz')
    np.testing.assert_allclose(raw['score'], (RGB + FLOW) / 2)
    assert raw['score_type'] == 'logit'
    # What was fused can be fused again, but not with probabilities.
    assert nest.run('tools/fuse_scores.py', 'rgb.npz', 'flow.npz', '--out', 'prob.npz',
                    cwd=files).returncode == 0
    done = nest.run('tools/fuse_scores.py', 'raw.npz', 'prob.npz', cwd=files)
    assert_refused(done, "'logit'", "'prob'")


def test_clips_unreadable_in_one_stream_are_left_out(nest, files):
    write(files / 'flow.npz', FLOW, unreadable=np.array([False, False, False, True]))
    done = nest.ok('tools/fuse_scores.py', 'rgb.npz', 'flow.npz', '--out', 'out.npz',
                   cwd=files)
    assert rows(done.stdout)['rgb.npz'][1] == '0.6667'
    assert '1 of 4 clips could not be read in some stream' in done.stdout
    assert load_scores(files / 'out.npz')['unreadable'].tolist() == [
        False, False, False, True]


def test_what_made_them(nest, files):
    """Classes in another order are refused; a file that tells none gets a word."""
    made = [dict(weights_sha256=k * 64, checkpoint=f'{k}.pth') for k in 'ab']
    write(files / 'rgb.npz', RGB, classes=list('xyz'), **made[0])
    write(files / 'flow.npz', FLOW, classes=list('yxz'), **made[1])
    arguments = 'tools/fuse_scores.py', 'rgb.npz', 'flow.npz', '--out', 'out.npz'
    assert_refused(nest.run(*arguments, cwd=files), "0 is 'x'", "'y'", 'order')
    for classes, is_said in ((list('xyz'), False), ([], True)):
        write(files / 'flow.npz', FLOW, classes=classes, **made[1])
        done = nest.ok(*arguments, cwd=files)
        assert ('flow.npz does not name its classes' in done.stdout) is is_said
        fused = load_scores(files / 'out.npz')
        assert fused['weights_sha256'] == f'{"a" * 64} + {"b" * 64}'
        assert fused['classes'].tolist() == list('xyz')


@pytest.mark.parametrize('value', [np.nan, -np.inf])
def test_numbers_that_are_none(nest, files, value):
    score = FLOW.copy()
    score[2, 1] = value
    write(files / 'flow.npz', score)
    arguments = 'tools/fuse_scores.py', 'rgb.npz', 'flow.npz'
    assert_refused(nest.run(*arguments, cwd=files), 'flow.npz: 1 of 4 clips', "'c'")
    write(files / 'flow.npz', score, unreadable=np.arange(4) == 2)
    assert '1 of 4 clips could not be read' in nest.ok(*arguments, cwd=files).stdout


@pytest.mark.parametrize(('change', 'arguments', 'words'), [
    (dict(split=3), [], ['split', 'flow.npz']),
    (dict(dataset='ucf101'), [], ["'hmdb51'", "'ucf101'"]),
    (dict(label=np.array([0, 1, 2, 1])), [], ['label', "'d'"]),
    (dict(sample_id=np.array(['a/0', 'a/1 (b)', 'c', 'e'])), [], ["'d'"]),
    (dict(score=FLOW[:, :2]), [], ['(4, 2)']),
    (dict(unreadable=np.ones(4, bool)), [], ['No clip']),
    ({}, ['no.npz'], ['no.npz']), ({}, ['text.npz'], ['text.npz', 'score file']),
    ({}, ['--weights', '1'], ['2 weights']), ({}, ['--topk', '0'], ['at least 1']),
    ({}, ['--out', 'x.txt'], ['x.txt']), ({}, ['--no-such-option'], ['no-such'])])
def test_mistakes_are_told_in_one_line(nest, files, change, arguments, words):
    write(files / 'flow.npz', FLOW, **change)
    (files / 'text.npz').write_text('no scores')
    done = nest.run('tools/fuse_scores.py', 'rgb.npz', 'flow.npz', *arguments,
                    cwd=files)
    assert_refused(done, *words)
