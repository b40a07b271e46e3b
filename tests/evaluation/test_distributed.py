"""Two processes that share a test: each sample is counted and written once."""
import numpy as np
import pytest

from cosam_mm.evaluation.metrics.action_metric import load_scores
from cosam_mm.evaluation.reid_features import load_features, save_features

SCRIPT = '''
import os, sys
import torch
import cosam_mm, mmaction.evaluation
from mmengine.evaluator import Evaluator
from cosam_mm.evaluation.metrics.action_metric import ActionMetric, DumpScores
from cosam_mm.evaluation.metrics.reid_metric import ReIDMetric
from cosam_mm.evaluation.reid_features import load_features

rank = int(os.fork() == 0)
torch.distributed.init_process_group(
    'gloo', init_method=f'file://{os.getcwd()}/store', rank=rank, world_size=2)
actions = Evaluator([DumpScores('scores.npz'), ActionMetric()])
actions.dataset_meta = dict(dataset='ucf101', split=3)
# Five samples over two ranks: the second repeats the first to have as many.
for k in (0, 2, 4) if rank == 0 else (1, 3, 0):
    score = torch.zeros(4)
    score[k % 3] = k + 1.
    actions.process([dict(
        pred_score=score, gt_label=torch.tensor([k % 4]), sample_id=f'clip {k}')])
top1 = actions.evaluate(5)['acc/top1']

persons = Evaluator([ReIDMetric(feature_file='features.npz')])
persons.dataset_meta = dict(dataset='mars', protocol='p')
features = load_features('source.npz')
keys = ('pid', 'camid', 'subset', 'tracklet_id')
for k in [*range(rank, 5, 2)] + ([0] if rank else []):
    sample = {key: features[key][k] for key in keys}
    persons.process([dict(sample, feature=torch.from_numpy(features['feature'][k]))])
mean_ap = persons.evaluate(5)['reid/mAP']
torch.distributed.destroy_process_group()
if rank:
    open('second', 'w').write(f'{top1} {mean_ap}')
    os._exit(0)
os.wait()
print(top1, mean_ap)
'''


def test_two_processes_evaluate_each_sample_once(nest, tmp_path):
    features = dict(
        feature=np.array([[0.], [1.], [2.], [1.5], [9.]], np.float32),
        pid=np.array([7, 7, 7, 8, 9]), camid=np.array([1, 2, 2, 2, 2]),
        subset=np.array(['query'] + ['gallery'] * 4),
        tracklet_id=np.array(list('abcde')))
    save_features(str(tmp_path / 'source.npz'), features)
    (tmp_path / 'script.py').write_text(SCRIPT)
    done = nest.run(tmp_path / 'script.py', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Labels 0 1 2 3 0, predictions 0 1 2 0 1; ranked: match, wrong, match, wrong.
    for text in (done.stdout.splitlines()[-1], (tmp_path / 'second').read_text()):
        assert [float(value) for value in text.split()] == pytest.approx(
            [.6, (1 + 2 / 3) / 2])

    scores = load_scores(str(tmp_path / 'scores.npz'))
    assert scores['sample_id'].tolist() == [f'clip {k}' for k in range(5)]
    assert scores['label'].tolist() == [0, 1, 2, 3, 0]
    assert scores['score'].max(axis=1).tolist() == [1, 2, 3, 4, 5]
    assert (scores['dataset'], scores['split']) == ('ucf101', 3)
    read = load_features(str(tmp_path / 'features.npz'))
    for key, values in features.items():
        np.testing.assert_array_equal(read[key], values)
