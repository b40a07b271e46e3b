"""Configs in files of strangers, given to the tools that look persons up.

Those of the other tools are in ``test_hostile_files.py``.
"""
import pytest

from cosam_mm.evaluation.metrics.reid_metric import save_features
from projects.fault_injection.hostile_files import change_config, listener, write_pickle
from tests.gallery_data import write_tracklet
from tests.ranking_data import small_config, small_features, write_tracklets
from tests.tool_process import assert_refused

RANKS = 'tools/visualizations/visualize_ranks.py'


def change(cfg, how, url):
    """Make the config in a re-identification model ask for something."""
    if how == 'scope':
        cfg.model.backbone['_scope_'] = 'this'
    elif how == 'module':
        cfg.model.backbone.type = 'this'
    elif how == 'default scope':
        cfg.default_scope = 'this'
    elif how == 'address':
        cfg.model.backbone = dict(type='mmpretrain.HiViT', arch=f'{url}/a.pkl')


@pytest.fixture
def folder(tmp_path):
    write_tracklet(tmp_path / 'query', 5, 0)
    write_tracklets(tmp_path / 'data')
    save_features(str(tmp_path / 'f.npz'), small_features())
    small_config('nowhere').dump(tmp_path / 'config.py')
    return tmp_path


@pytest.mark.parametrize('how', ['scope', 'module', 'default scope', 'address'])
@pytest.mark.parametrize('command', [
    ['tools/search_gallery.py', 'search', 'GALLERY', 'query', '--checkpoint', 'EVIL'],
    [RANKS, 'f.npz', '--data-root', 'data', '--masks', 'EVIL']])
def test_model_of_a_checkpoint(nest, repo, folder, command, how):
    old = repo / 'tests/data/written_by_0_1'
    with listener() as (url, asked):
        change_config(old / 'reid.pth', folder / 'evil.pth',
                      lambda cfg: change(cfg, how, url))
        names = dict(EVIL='evil.pth', GALLERY=old / 'gallery.npz')
        done = nest.run(*(names.get(word, word) for word in command), cwd=folder)
    assert asked == []
    assert 'Zen of Python' not in done.stdout
    assert_refused(done, 'out of a file')


@pytest.mark.parametrize('dataset', [
    dict(type='mmaction.PoseDataset', ann_file='evil.pkl', pipeline=[]),
    dict(type='this'), dict(type='TrackletFolder', data_root='data', _scope_='this')])
def test_data_set_of_a_work_dir(nest, folder, dataset):
    marker = folder / 'it ran'
    write_pickle(folder / 'evil.pkl', marker)
    cfg = small_config('nowhere')
    cfg.test_dataloader.dataset.query = cfg.test_dataloader.dataset.gallery = dataset
    cfg.dump(folder / 'config.py')
    done = nest.run(RANKS, 'f.npz', cwd=folder)
    assert not marker.exists()
    assert 'Zen of Python' not in done.stdout
    assert_refused(done, 'out of a file')
