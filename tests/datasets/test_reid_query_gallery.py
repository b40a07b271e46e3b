"""Query and gallery as one data set: order, protocol, queries without a match."""
import logging

import pytest
from mmengine.registry import DATASETS

from cosam_mm.datasets.reid import QueryGalleryDataset

QUERY = ['1/c1/a', '2/c1/a', '3/c2/a']
GALLERY = ['1/c2/a', '2/c2/a', '2/c2/b', '3/c1/a', '9/c1/a']


def write(root, query=QUERY, gallery=GALLERY):
    for subset, folders in (('query', query), ('gallery', gallery)):
        for folder in folders:
            path = root / subset / folder
            path.mkdir(parents=True)
            (path / '1.jpg').touch()
    return root


def config(root, **kwargs):
    return dict(type='TrackletFolder', data_root=str(root), serialize_data=False,
                **kwargs)


def build(root, query=None, gallery=None, **kwargs):
    return DATASETS.build(dict(
        type='QueryGalleryDataset', query=config(root, **query or {}),
        gallery=config(root, **gallery or {}), **kwargs))


@pytest.fixture
def root(tmp_path):
    return write(tmp_path / 'own')


def test_queries_come_first(root):
    dataset = build(root)
    assert isinstance(dataset, QueryGalleryDataset)
    assert len(dataset) == 8
    items = [dataset.get_data_info(k) for k in range(8)]
    assert [item['tracklet_id'] for item in items] == [
        *(f'query/{name}' for name in QUERY), *(f'gallery/{name}' for name in GALLERY)]
    assert [item['subset'] for item in items] == ['query'] * 3 + ['gallery'] * 5
    assert [item['sample_idx'] for item in items] == list(range(8))
    # Without a pipeline an item is what the parts say.
    assert [dataset[k]['tracklet_id'] for k in range(8)] == [
        item['tracklet_id'] for item in items]
    assert dataset[-8] == dataset[0]
    assert dataset[-1] == dataset[7]
    for index in (8, -9):
        with pytest.raises(IndexError, match='range'):
            dataset[index]


def test_each_has_its_pipeline_and_is_in_test_mode(root):
    dataset = build(root, query=dict(pipeline=[lambda results: 'q']),
                    gallery=dict(pipeline=[lambda results: 'g']))
    assert [dataset[k] for k in range(8)] == list('qqqggggg')
    assert dataset.query.test_mode
    assert dataset.gallery.test_mode


def test_metainfo_of_configs_and_of_data_sets(root, log):
    expected = dict(dataset='own', protocol='query and gallery folders', split=None)
    assert build(root, lazy_init=True).metainfo == expected
    expected.update(num_queries=3, num_gallery=5, num_queries_without_truth=0)
    assert build(root).metainfo == expected
    parts = [DATASETS.build(config(root, subset=subset))
             for subset in ('query', 'gallery')]
    assert QueryGalleryDataset(*parts).metainfo == expected
    assert not log(logging.WARNING)


def test_queries_without_match_are_counted_and_named(tmp_path, log):
    write(tmp_path, gallery=['1/c2/a', '2/c1/a', '9/c2/a'])
    dataset = build(tmp_path, query=dict(name='own'), gallery=dict(name='own'))
    assert dataset.metainfo['num_queries_without_truth'] == 2
    line, = log(logging.WARNING)
    for part in ('own: 2 of 3', '1 pids', '1 only', 'query/2/c1/a, query/3/c2/a'):
        assert part in line


@pytest.mark.parametrize(('gallery', 'match'), [
    (['1/c1/a', '7/c1/a'], '3 of 3'), ([], 'gallery')])
def test_gallery_without_any_match(tmp_path, gallery, match):
    write(tmp_path, gallery=gallery)
    (tmp_path / 'gallery').mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=match):
        build(tmp_path)


def test_unknown_cameras_and_two_splits(tmp_path):
    """Split by a seed without cameras: the query itself is in the gallery."""
    for folder in ('1/a', '1/b', '2/a'):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / '1.jpg').touch()
    split = dict(train_fraction=0)
    dataset = build(tmp_path, split, split)
    # 1/a finds 1/b; 2/a finds only itself.
    assert dataset.metainfo['num_queries'] == 2
    assert dataset.metainfo['num_queries_without_truth'] == 1
    with pytest.raises(ValueError, match='seed 1.*seed 2'):
        build(tmp_path, dict(seed=1, lazy_init=True), dict(seed=2, lazy_init=True))


@pytest.mark.parametrize(('query', 'gallery', 'match'), [
    (dict(subset='gallery'), {}, 'query'), ({}, dict(subset='query'), 'gallery'),
    (dict(name='a'), dict(name='b'), "'a'.*'b'")])
def test_parts_that_do_not_belong_together(root, query, gallery, match):
    with pytest.raises(ValueError, match=match):
        build(root, query, gallery)


def fill(folder, *contents):
    folder.mkdir(parents=True)
    for number, content in enumerate(contents):
        (folder / f'{number}.jpg').write_text(content)


@pytest.mark.parametrize('copied', [
    ('abc',), ('cab',), ('b',), ('abcd',)], ids=['same', 'renamed', 'part', 'more'])
@pytest.mark.parametrize('camera', ['', 'c1/'], ids=['unknown', 'known'])
def test_a_query_that_is_in_the_gallery_has_no_match_in_itself(
        tmp_path, log, copied, camera):
    fill(tmp_path / f'query/1/{camera}x', *copied[0])
    other = camera.replace('1', '2')
    fill(tmp_path / f'gallery/1/{other}y', *'abc')
    fill(tmp_path / f'gallery/1/{other}z', *'xyz')
    fill(tmp_path / f'query/2/{camera}x', *'def')
    fill(tmp_path / f'gallery/2/{other}y', *'def')
    fill(tmp_path / f'gallery/3/{other}y', *'abc')  # another person: no match, wrong
    meta = build(tmp_path).metainfo
    assert meta['num_queries_without_truth'] == 1
    sources = [{meta['copies'].pop(f'{subset}/{name}') for subset, name in names}
               for names in ((('query', f'1/{camera}x'), ('gallery', f'1/{other}y')),
                             (('query', f'2/{camera}x'), ('gallery', f'2/{other}y')))]
    assert [len(one) for one in sources] == [1, 1]
    assert not sources[0] & sources[1]
    assert not meta['copies']
    copies, without = log(logging.WARNING)
    assert '2 queries are, byte for byte' in copies
    assert f'query/1/{camera}x' in copies
    assert f'query/2/{camera}x' in without


def test_a_tracklet_that_joins_two_groups_of_copies(tmp_path):
    queries = dict(q1='a', q2='b', q3='c')
    gallery = dict(g1='ac', g2='bc', g3='xy')
    for subset, tracklets in (('query', queries), ('gallery', gallery)):
        for name, content in tracklets.items():
            fill(tmp_path / subset / '1' / name, *content)
    fill(tmp_path / 'gallery/2/t', 'z')
    copies = build(tmp_path).metainfo['copies']
    assert len(set(copies.values())) == 1
    assert set(copies) == {f'query/1/q{k}' for k in (1, 2, 3)} | {
        'gallery/1/g1', 'gallery/1/g2'}


def test_images_of_one_size_in_bytes_are_no_copies(tmp_path):
    for subset, content in (('query', 'abc'), ('gallery', 'abd')):
        fill(tmp_path / subset / '1/t', *content)
        fill(tmp_path / subset / '2/t', content)
    assert 'copies' not in build(tmp_path).metainfo


@pytest.mark.parametrize('folders', [
    ('query/1/c1/a', 'gallery/1/c2/a', 'gallery/1/c2/b'),
    ('1/c1/a', '1/c2/b'), ('cama/p1', 'cama/p2')])  # a camera in place of a person
def test_a_gallery_of_one_person_is_refused(tmp_path, folders):
    for number, folder in enumerate(folders):
        fill(tmp_path / folder, str(number))
    options = dict(train_fraction=0, layout='person_first')
    with pytest.raises(ValueError, match='100 %'):
        build(tmp_path, options, options)


def test_one_camera_alone_is_refused_with_the_way_out(tmp_path):
    for number, person in enumerate('1122'):
        fill(tmp_path / person / 'c1' / str(number), str(number))
    options = dict(train_fraction=0)
    with pytest.raises(ValueError, match='--no-validate'):
        build(tmp_path, options, options)
