"""The report's section on re-identification: its numbers, and what is missing."""
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from cosam_mm.evaluation.metrics.reid_metric import evaluate_features, save_features
from cosam_mm.visualization.report.content import (
    Facts,
    Missing,
    Picture,
    Section,
    Table,
    Text,
)
from cosam_mm.visualization.report.reid_section import build_section
from cosam_mm.visualization.report.work_dir import ReportOptions, WorkDir
from tests.reid_pictures_data import small_config, small_features, write_tracklets

OPTIONS = ReportOptions(num_samples=2, progress=False)
NO_DATA = 'python tools/report.py WORK_DIR --data-root FOLDER_OF_THE_DATA_SET'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return write_tracklets(tmp_path_factory.mktemp('section') / 'own')


@pytest.fixture
def make(tmp_path, root):
    """Writes a feature file, config and log; gives what would be found."""
    def work_dir(features=None, config=True, data_root=root, log=None, **settings):
        paths = dict(root=tmp_path)
        if features is not None:
            paths['feature_files'] = (tmp_path / 'f.npz',)
            save_features(str(paths['feature_files'][0]), features)
        if config:
            paths['config'] = tmp_path / 'config.py'
            small_config('nowhere', **settings).dump(paths['config'])
        if log is not None:
            paths['test_logs'] = (tmp_path / 'log.json',)
            paths['test_logs'][0].write_text(json.dumps(log))
        return WorkDir(data_root=data_root, **paths)
    return work_dir


def of(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def test_everything_is_there(make):
    section = build_section(make(small_features()), OPTIONS)
    assert isinstance(section, Section)
    assert section.lead == ('How the 4 tracklets of the gallery are ranked for each of '
                            '3 queries, from f.npz.')
    assert [type(block) for block in section.blocks] == [
        Table, Facts, Picture, Picture, Text, Picture, Picture, Table]
    assert [picture.title for picture in of(section, Picture)] == [
        'CMC curve', 'Distances of pairs',
        'Best: query query/2/1/a, camera 1. AP 100.0 %, the right one at rank 1',
        'Worst: query query/1/1/a, camera 1. AP 50.0 %, the right one at rank 2']


def test_figures_are_those_of_the_test(make):
    features = small_features()
    section = build_section(make(features, log={'reid/mAP': 0., 'reid/rerank_mAP': 0.}),
                            OPTIONS)
    figures = of(section, Table)[0]
    result = evaluate_features(features, rerank=True).figures
    assert figures.columns == ('ranking', 'mAP', 'R1', 'R5', 'R10', 'R20', 'mINP')
    for (name, *row), wanted, prefix in zip(
            figures.rows, ('euclidean distance', 're-ranked'), ('', 'rerank_')):
        assert name == wanted
        assert row == [100 * result[prefix + key] for key in figures.columns[1:]]
    assert figures.caption == (
        'In percent. Means over 2 queries; 1 more have no tracklet of the same person '
        'from another camera in the gallery.')


@pytest.mark.parametrize(('log', 'evaluator', 'distance', 'reranked'), [
    (None, dict(type='ReIDMetric', distance='cosine'), 'cosine', False),
    ({'reid/mAP': .5, 'reid/distance': 'cosine'}, dict(type='ReIDMetric'), 'cosine',
     False),
    ({'acc/top1': .5, 'reid/rerank_mAP': .5}, dict(type='ReIDMetric'), 'euclidean',
     False),
    (None, [dict(type='ReIDMetric', rerank=dict(k1=2))], 'euclidean', True),
])
def test_it_is_rated_as_the_test_did(make, log, evaluator, distance, reranked):
    section = build_section(
        make(small_features(), log=log, test_evaluator=evaluator), OPTIONS)
    rows = dict(of(section, Facts)[0].rows)
    assert rows['distance'] == distance
    assert rows.get('re-ranking') == (
        'k1 = 2, k2 = 6, lambda_value = 0.3' if reranked else None)


def test_all_queries_are_listed_the_worst_first(make):
    table = of(build_section(make(small_features()), OPTIONS), Table)[-1]
    assert [tuple(row) for row in table.rows] == [
        ('query/1/1/a', 1, 50., 2, 1), ('query/2/1/a', 1, 100., 1, 1),
        ('query/3/1/a', 1, None, None, 0)]
    assert table.show(table.rows[0][2]) == '50.0'


def test_panels_are_small_pictures_in_words_too(make):
    section = build_section(make(small_features()), OPTIONS)
    panel = of(section, Picture)[2]
    image = np.asarray(Image.open(io.BytesIO(panel.data)))
    assert Image.open(io.BytesIO(panel.data)).format == 'WEBP'
    assert len(panel.data) < 150_000
    green = (np.abs(image.astype(int) - (18, 151, 106)).max(axis=2) < 12).sum()
    red = (np.abs(image.astype(int) - (209, 73, 91)).max(axis=2) < 12).sum()
    assert 0 < green < red  # one right, three wrong
    assert 'rank 1 right: gallery/2/2/a, camera 2, distance 1.000' in panel.alt
    assert 'best and the 1 worst queries by average precision' in \
        of(section, Text)[0].text


def test_the_same_files_give_the_same_section(make):
    found = make(small_features())
    assert build_section(found, OPTIONS) == build_section(found, OPTIONS)


# -- what may be missing -----------------------------------------------------


def test_another_topic(make):
    action = make(model=dict(type='Recognizer3D'),
                  test_evaluator=dict(type='AccMetric'))
    assert build_section(action, OPTIONS) is None
    assert build_section(make(config=False), OPTIONS) is None


def test_a_training_without_a_feature_file(make):
    section = build_section(make(), OPTIONS)
    assert section.blocks == (Missing(
        'figures, curves and rank panels', 'there is no feature file',
        'python tools/test.py CONFIG CHECKPOINT --dump features.npz'),)


def test_a_damaged_feature_file(make):
    found = make(small_features())
    found.feature_files[0].write_bytes(b'PK no zip')
    missing, = build_section(found, OPTIONS).blocks
    assert 'f.npz is not a feature file' in missing.why


@pytest.mark.parametrize(('changes', 'why'), [
    (dict(pid=np.full(7, -1)), '7 tracklets have a negative pid'),
    (dict(subset=np.array(['gallery'] * 7)), 'No readable query tracklet'),
    (dict(feature=np.full((7, 2), np.inf)), 'NaN or infinity'),
])
def test_features_of_no_use(make, changes, why):
    missing, = build_section(make(small_features(**changes)), OPTIONS).blocks
    assert why in missing.why


def test_no_query_has_a_truth(make):
    """Lists are shown all the same, of the first queries."""
    section = build_section(make(small_features(pid=np.arange(1, 8))), OPTIONS)
    assert of(section, Missing)[0].why == (
        'none of the 3 queries has a tracklet of the same person from another camera '
        'in the gallery')
    panels = of(section, Picture)
    assert [panel.title for panel in panels] == [
        f'query query/{k}/1/a, camera 1. Nothing right in the gallery, so no AP'
        for k in (1, 2)]
    assert [row[2:4] for row in of(section, Table)[0].rows] == 3 * [(None, None)]


def test_all_of_one_person(make):
    section = build_section(make(small_features(pid=np.ones(7, int))), OPTIONS)
    assert Missing('the distances of pairs', 'all tracklets are of one person') in \
        section.blocks
    assert [picture.title for picture in of(section, Picture)][:1] == ['CMC curve']


@pytest.mark.parametrize(('settings', 'why'), [
    (dict(config=False), 'no config says where the images are'),
    (dict(data_root=None), "The data root 'nowhere' of small does not exist"),
    (dict(test_dataloader=dict(dataset=dict(type='ActionVideoDataset'))),
     'has no query and gallery'),
    (dict(test_dataloader=dict(dataset=dict(
        query=dict(type='Unheard'), gallery=dict(type='Unheard')))), 'Unheard'),
])
def test_without_images_all_else_stays(make, settings, why):
    section = build_section(make(small_features(), **settings), OPTIONS)
    missing, = of(section, Missing)
    assert (missing.what, missing.how) == ('the rank panels', NO_DATA)
    assert why in missing.why
    assert [type(block) for block in section.blocks] == [
        Table, Facts, Picture, Picture, Missing, Table]


def test_images_of_other_tracklets(make):
    names = np.array([f'other {k}' for k in range(7)])
    section = build_section(make(small_features(tracklet_id=names)), OPTIONS)
    missing, = of(section, Missing)
    assert missing.why.startswith('no image of these tracklets is in the data set of 7')


def test_without_scipy_the_plain_figures_stay(make, monkeypatch):
    monkeypatch.setitem(sys.modules, 'scipy.sparse', None)
    section = build_section(
        make(small_features(), log={'reid/mAP': 1., 'reid/rerank_mAP': 1.}), OPTIONS)
    assert of(section, Missing)[0] == Missing(
        'the re-ranked figures', 'Re-ranking needs scipy: pip install scipy.',
        'pip install scipy')
    assert [row[0] for row in of(section, Table)[0].rows] == ['euclidean distance']


def test_a_config_that_is_none(make):
    found = make(small_features())
    found.config.write_text('import os')
    section = build_section(found, OPTIONS)
    assert of(section, Missing)[0].why == 'no config says where the images are'


def test_no_samples(make):
    section = build_section(make(small_features()),
                            ReportOptions(num_samples=0, progress=False))
    assert len(of(section, Picture)) == 2


def test_names_are_text(make):
    names = np.array(['<script>', '$x$', 'a\nb', 'd', 'e', 'f', 'g'])
    section = build_section(make(small_features(tracklet_id=names)), OPTIONS)
    assert {row[0] for row in of(section, Table)[-1].rows} == set(names[:3].tolist())
