"""Images by tracklet, of each data set; unknown names select nothing."""
import os

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from scipy.io import savemat

from cosam_mm.visualization.rank_panels import TrackletImages, find_tracklet_images
from tests.ranking_data import small_config, write_tracklets


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def config(kind, root, **settings):
    part = dict(type=kind, data_root=str(root), expected_counts=None, **settings)
    return Config(dict(test_dataloader=dict(dataset=dict(
        type='QueryGalleryDataset', query=part, gallery=dict(part)))))


@pytest.fixture
def small(tmp_path):
    return write_tracklets(tmp_path / 'own')


def names(paths):
    return [os.path.basename(path) for path in paths]


def test_names_only_select_and_person_and_camera_must_agree(small):
    """The pipeline, whose step does not exist, is not built; nor has it splits."""
    cfg = small_config('nowhere')
    images = find_tracklet_images(cfg, str(small), split='7')
    assert cfg.test_dataloader.dataset.query.data_root == 'nowhere'
    assert len(images) == 7
    assert images.paths('query/1/1/a', 1, 1) == [
        str(small / f'query/1/1/a/{frame}.png') for frame in range(6)]
    assert names(images.paths('gallery/4/1/a', 4, 1)) == [f'{k}.png' for k in range(6)]
    for name in ('../own/query/1/1/a', '/etc/passwd', 'query/1/1/a/', '', '\0'):
        assert images.paths(name, 1, 1) == []
    assert images.paths('query/1/1/a', 2, 1) == images.paths('query/1/1/a', 1, 2) == []


def test_tracklet_of_query_and_gallery_counts_once(small):
    """As MARS may repeat its queries in the gallery."""
    part = DATASETS.build(dict(small_config(small).test_dataloader.dataset.query,
                               subset='query', pipeline=[], test_mode=True))
    assert len(TrackletImages([part, part])) == 3


@pytest.mark.parametrize(('split', 'tested'), [
    ('', 2), ('x', 2), ('1 (first half tests)', 2), ('2 (first half tests)', 1),
    ('1', 1), ('2', 2)])  # a number alone is that of version 0.1
def test_ilids_follows_the_split_of_the_features(tmp_path, split, tested):
    for camid in (1, 2):
        for pid in (1, 2):
            touch(tmp_path / f'i-LIDS-VID/sequences/cam{camid}/person{pid:03}',
                  f'{camid}{pid}.png')
    (tmp_path / 'train-test people splits').mkdir()
    savemat(tmp_path / 'train-test people splits/train_test_splits_ilidsvid.mat',
            {'ls_set': np.array([[2, 1], [1, 2]])})
    cfg = config('ILIDSVID', tmp_path, split=1)
    images = find_tracklet_images(cfg, split=split)
    assert len(images) == 2
    assert names(images.paths(f'cam2/person{tested:03}', tested, 2)) == [
        f'2{tested}.png']
    assert images.paths(f'cam2/person{3 - tested:03}', 3 - tested, 2) == []


def test_configs_without_tracklets_are_refused(small):
    with pytest.raises(ValueError, match='gallery'):
        find_tracklet_images(Config(dict(model=dict(type='Recognizer3D'))))
    with pytest.raises(FileNotFoundError, match='nowhere'):
        find_tracklet_images(small_config(small), 'nowhere')
