"""Data sets are known by the content of their files, under whatever names."""
import shutil

import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import Subset

from cosam_mm.datasets.action_dataset import ActionFrameDataset, ActionVideoDataset
from cosam_mm.datasets.fingerprint import fingerprints, is_in
from cosam_mm.datasets.reid import QueryGalleryDataset, TrackletFolder
from tests.action_data import write_data_root
from tests.gallery_data import write_tracklet


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_data_root(tmp_path_factory.mktemp('data'), 'demo', 2, frames=True)


def clips(root, subset='train', kind=ActionVideoDataset, name='demo', **settings):
    return kind(str(root), name, [], 2, subset=subset, **settings)


def shared(trained, tested):
    """Names of the tested items that were trained on."""
    known = torch.cat([mark.content.flatten() for mark in fingerprints(trained)])
    return {name for mark in fingerprints(tested)
            for name, found in zip(mark.names, is_in(mark.content, known)) if found}


@pytest.mark.parametrize('wrap', [
    lambda one: one, lambda one: RepeatDataset(one, 2),
    lambda one: ConcatDataset([one, one]), lambda one: Subset(one, range(len(one))),
    lambda one: torch.utils.data.ConcatDataset([RepeatDataset(one, 2)]),
    lambda one: ClassBalancedDataset(one, 0.9),
    lambda one: RepeatDataset(
        dict(type='mmengine.ConcatDataset', datasets=[one, one]), 2)])
@pytest.mark.parametrize('kind', [ActionVideoDataset, ActionFrameDataset])
def test_clips_inside_of_wrappers(root, wrap, kind):
    trained = wrap(clips(root, kind=kind))
    assert not shared(trained, clips(root, 'val', kind))
    assert len(shared(trained, wrap(clips(root, kind=kind)))) == 4
    assert len(shared(trained, wrap(clips(root, 'val', kind, split=2)))) == 4


def test_a_part_is_no_more_than_its_items(root):
    whole = clips(root)
    assert len(shared(Subset(whole, [0, 2]), whole)) == 2
    assert not shared(Subset(whole, [0, 2]), Subset(whole, [1, 3]))
    assert len(shared(clips(root, indices=[1]), whole)) == 1


def test_unreadable_files_are_nobodys(root, tmp_path):
    """Files that are missing, empty or no videos, and one that is known."""
    other = shutil.copytree(root, tmp_path / 'other')
    first, second, third, _ = sorted(other.glob('videos/class */shown*'))
    first.unlink()
    second.unlink()
    third.write_bytes(b'')
    trained, = fingerprints(clips(other))
    assert sorted(trained.content.flatten().eq(0).tolist()) == [False, *[True] * 3]
    assert len(shared(clips(other), clips(root))) == 1
    assert len(shared(clips(root), clips(other))) == 1
    assert len(shared(clips(other), clips(other))) == 1


def test_names_do_not_count_but_content(root, tmp_path):
    shutil.copytree(root, tmp_path / 'other')
    assert len(shared(clips(root), clips(tmp_path / 'other', split=2,
                                         subset='val'))) == 4
    for path in (tmp_path / 'other').rglob('*.avi'):
        path.write_bytes(path.read_bytes()[:-1] + b'x')  # as long as before
    assert not shared(clips(root), clips(tmp_path / 'other'))
    assert not shared(clips(root), [1, 2])  # items without files


def test_published_clips_go_by_their_names(root, tmp_path):
    for path in list(root.glob('demo_*')):
        shutil.copy(path, path.with_name(path.name.replace('demo', 'hmdb51')))
    videos, frames = (clips(root, kind=kind, name='hmdb51')
                      for kind in (ActionVideoDataset, ActionFrameDataset))
    assert len(shared(videos, frames)) == len(shared(frames, videos)) == 4
    assert not shared(videos, clips(root, 'val', ActionFrameDataset, 'hmdb51'))
    assert not shared(clips(root), clips(root, kind=ActionFrameDataset))


@pytest.fixture
def people(tmp_path):
    for subset, persons in (('train', '12'), ('query', '345'), ('gallery', '3456')):
        for person in persons:
            for k in range(2):
                write_tracklet(tmp_path / 'own' / subset / person / subset / str(k), 3,
                               seed=100 * int(person) + 10 * len(subset) + k)
    return tmp_path / 'own'


def rated_persons(root):
    return QueryGalleryDataset(*(TrackletFolder(str(root), subset, force=True)
                                 for subset in ('query', 'gallery')))


def test_persons_of_train_in_other_folders(people):
    train = TrackletFolder(str(people))
    assert not shared(train, rated_persons(people))
    for k in range(2):  # other pictures of a person who is trained on
        write_tracklet(people / 'gallery' / '2' / 'gallery' / str(k), 3, seed=900 + k)
    with pytest.raises(ValueError, match='persons of train'):
        TrackletFolder(str(people))
    people.rename(people.with_name('renamed'))
    people = people.with_name('renamed')
    train = TrackletFolder(str(people), force=True)
    assert {name.split()[0] for name in shared(train, rated_persons(people))} == {'2'}
    shutil.rmtree(people / 'train')
    assert shared(TrackletFolder(str(people), 'gallery'), rated_persons(people))


def test_tracklets_that_were_copied_and_trimmed(people):
    train = TrackletFolder(str(people))
    known = fingerprints(train)[0]
    assert (known.unit, known.about['dataset']) == ('persons', 'own')
    shutil.copytree(people / 'train' / '1', people / 'query' / '9')
    shutil.copytree(people / 'train' / '1', people / 'gallery' / '8')
    for path in people.glob('gallery/8/*/*/0.jpg'):
        path.unlink()
    names = shared(train, rated_persons(people))
    assert {name.split()[0] for name in names} == {'8', '9'}
