"""``tools/search_gallery.py`` as a process: index a folder, find a tracklet in it."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch

from cosam_mm.apis.gallery import Gallery
from cosam_mm.datasets.image_files import read_image
from tests.gallery_data import (
    build_model,
    reid_config,
    write_checkpoint,
    write_folder,
    write_tracklet,
)
from tests.tool_process import ENVIRONMENT, assert_refused

TOOL = 'tools/search_gallery.py'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp('model') / 'm.pth', reid_config())


@pytest.fixture(scope='module')
def indexed(nest, model, tmp_path_factory):
    """Folder with gallery.npz of six tracklets below my people."""
    cwd = tmp_path_factory.mktemp('indexed')
    write_folder(cwd / 'my people')
    done = nest.ok(TOOL, 'index', model, 'my people', '--out', 'gallery.npz',
                   '--num-workers', 1, cwd=cwd)
    assert done.stdout == ('gallery.npz: 6 tracklets, 6 of them computed now, 0 from '
                           'before; 0 removed\n')
    assert not done.stderr  # no bar but on a terminal
    return cwd


def read(printed):
    """(rank, distance, tracklet) of each line."""
    return [(int(rank), float(distance), name) for rank, distance, name in
            re.findall(r'^ +(\d+) +(\d+\.\d{4})  (.*)$', printed, re.M)]


def test_ranked_tracklets(nest, model, indexed):
    done = nest.ok(TOOL, 'search', 'gallery.npz', 'my people/p3/c1/t',
                   'my people/p0/c0/t/', '--checkpoint', model, '--topk', 4,
                   '--out', 'results.json', cwd=indexed)
    assert done.stdout.startswith('gallery.npz: 6 tracklets; exact search\n'
                                  'query my people/p3/c1/t\n'
                                  '  rank  euclidean distance  tracklet\n')
    found = read(done.stdout)
    assert [rank for rank, _, _ in found] == [1, 2, 3, 4] * 2
    assert found[0] == (1, 0., 'p3/c1/t')
    assert found[4] == (1, 0., 'p0/c0/t')
    for part in (found[:4], found[4:]):
        distances = [distance for _, distance, _ in part]
        assert distances == sorted(distances)
        assert distances[1] > 0

    summary = json.loads((indexed / 'results.json').read_text())
    results = summary.pop('results')
    assert [entry['query'] for entry in results] == [
        'my people/p3/c1/t', 'my people/p0/c0/t/']
    assert summary == dict(gallery='gallery.npz', num_tracklets=6, approximate=False,
                           num_unreadable=0,
                           distance='euclidean', engine='exact', faiss_index=None)
    assert [(entry['rank'], round(entry['distance'], 4), entry['tracklet_id'])
            for entry in results[0]['matches']] == found[:4]


def test_one_image_a_limit_and_a_picture(nest, model, indexed):
    """The picture holds the images of the query and of what is near enough."""
    folder = indexed / 'my people' / 'p3' / 'c1' / 't'
    image = sorted(folder.iterdir())[0]
    search = (TOOL, 'search', 'gallery.npz', image, '--checkpoint', model)
    every = read(nest.ok(*search, '--topk', 6, cwd=indexed).stdout)
    limit = (every[2][1] + every[3][1]) / 2
    done = nest.ok(*search, '--max-distance', limit, '--panel', 'found.png', '--images',
                   'my people', cwd=indexed)
    assert read(done.stdout) == every[:3]
    picture = read_image(indexed / 'found.png')
    assert (picture.std(axis=2) > 0).any(axis=0).sum() > 3 * 50  # columns with colours
    done = nest.ok(*search, '--max-distance', 1e-9, cwd=indexed)
    assert 'nobody' in done.stdout
    assert_refused(nest.run(*search, '--panel', 'found.png', cwd=indexed), '--images')


def test_another_folder_and_removal(nest, model, indexed, tmp_path):
    shutil.copy(indexed / 'gallery.npz', tmp_path)
    write_tracklet(tmp_path / 'new' / 'q1' / 't', 2, 50)
    index = TOOL, 'index', model, 'new', '--out', 'gallery.npz', '--num-workers', 0
    assert_refused(nest.run(*index, cwd=tmp_path), '--add')
    assert '7 tracklets, 1 of' in nest.ok(*index, '--add', cwd=tmp_path).stdout
    done = nest.ok(TOOL, 'index', '--remove', 'p0', 'p1/c1/t', '--out', 'gallery.npz',
                   cwd=tmp_path)
    assert done.stdout == 'gallery.npz: 5 tracklets are left\n'
    assert '1 tracklets' in nest.ok(*index, '--mirror', cwd=tmp_path).stdout
    assert nest.run(TOOL, 'index', '--out', 'g.npz', cwd=tmp_path).returncode == 2


def test_index_again(nest, model, indexed, tmp_path):
    """What is new, what is gone, what cannot be read."""
    shutil.copytree(indexed, tmp_path / 'copy')
    people = tmp_path / 'copy' / 'my people'
    write_tracklet(people / 'p9', 2, 9)
    write_tracklet(people / 'broken' / 'a', 1, 9)
    (people / 'broken' / 'a' / '0.jpg').write_bytes(b'no image')
    shutil.rmtree(people / 'p2')
    command = (TOOL, 'index', model, 'my people', '--out', 'gallery.npz')
    done = nest.ok(*command, '--num-workers', 0, cwd=people.parent)
    assert done.stdout.endswith(
        'gallery.npz: 6 tracklets, 1 of them computed now, 5 from before; 1 removed\n'
        '1 tracklets without a readable image are skipped:\n  broken/a\n')
    assert 'Unreadable image 1: my people/broken/a/0.jpg' in done.stdout
    done = nest.run(*command, '--num-workers', 0, '--overwrite', cwd=people.parent)
    assert '6 of them computed now, 0 from before' in done.stdout


def test_other_distance_and_config_beside_a_bare_checkpoint(nest, indexed, tmp_path):
    config = reid_config()
    torch.save(build_model(config).state_dict(), tmp_path / 'bare.pth')
    config.dump(str(tmp_path / 'config.py'))
    done = nest.ok(TOOL, 'search', indexed / 'gallery.npz',
                   indexed / 'my people/p3/c1/t', '--checkpoint', 'bare.pth',
                   '--config', 'config.py', '--distance', 'cosine', '--topk', 99,
                   cwd=tmp_path)
    assert '  rank  cosine distance  tracklet\n' in done.stdout
    found = read(done.stdout)
    assert (len(found), found[0][2]) == (6, 'p3/c1/t')  # more than there are


def test_interrupted(nest, repo, model, tmp_path):
    """Ctrl-C after some of many tracklets: what is done is kept."""
    write_tracklet(tmp_path / 'people' / 'q0', 8, 0)
    for number in range(1, 500):
        (tmp_path / 'people' / f'q{number}').symlink_to('q0')
    # What the log says of this one tells that twenty are done.
    (tmp_path / 'people' / 'q20').unlink()
    write_tracklet(tmp_path / 'people' / 'q20', 1, 0)
    (tmp_path / 'people' / 'q20' / '0.jpg').write_bytes(b'')
    arguments = ('index', model, 'people', '--out', 'g.npz', '--batch-size', '1',
                 '--num-workers', '0')
    with open(tmp_path / 'out', 'w') as out:
        process = subprocess.Popen(
            [sys.executable, repo / TOOL, *arguments], cwd=tmp_path, stdout=out,
            stderr=subprocess.PIPE, env=ENVIRONMENT, text=True,
            # Where the tests run in the background, Ctrl-C is ignored, and children
            # would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        limit = time.monotonic() + 60
        while 'Unreadable' not in (tmp_path / 'out').read_text():
            assert time.monotonic() < limit
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert printed == ('interrupted; run again without --overwrite, it continues\n')
    gallery = Gallery.read(str(tmp_path / 'g.npz'))
    assert len(gallery) >= 20
    assert gallery.num_waiting > 0
    done = nest.run(TOOL, 'search', 'g.npz', 'people/q1', '--checkpoint', model,
                    cwd=tmp_path)
    assert_refused(done, f'not finished: {gallery.num_waiting} of ')


def test_name_that_is_no_text(nest, model, tmp_path):
    name = os.fsdecode(b'caf\xe9')
    write_tracklet(tmp_path / 'people' / name, 2, 0)
    done = nest.ok(TOOL, 'index', model, 'people', '--out', 'g.npz', cwd=tmp_path)
    done = nest.run(TOOL, 'search', 'g.npz', f'people/{name}', '--checkpoint', model,
                    '--out', 'r.json', cwd=tmp_path)
    assert read(done.stdout) == [(1, 0., name)]
    results = json.loads((tmp_path / 'r.json').read_text())['results']
    assert results[0]['matches'][0]['tracklet_id'] == name


@pytest.mark.skipif(find_spec('faiss') is None, reason='needs faiss')
def test_faiss(nest, model, indexed, tmp_path):
    shutil.copy(indexed / 'gallery.npz', tmp_path)
    arguments = (TOOL, 'search', 'gallery.npz', indexed / 'my people/p3/c1/t',
                 '--checkpoint', model)
    exact = nest.ok(*arguments, cwd=tmp_path)
    done = nest.ok(*arguments, '--engine', 'faiss', '--faiss-index', 'HNSW8',
                   '--faiss-parameters', 'efSearch=50', '--out', 'r.json',
                   cwd=tmp_path)
    assert 'FAISS index HNSW8, approximate: nearer tracklets may be' in done.stdout
    assert read(done.stdout) == read(exact.stdout)
    assert (tmp_path / 'gallery.euclidean.HNSW8.faiss').is_file()
    summary = json.loads((tmp_path / 'r.json').read_text())
    assert (summary['engine'], summary['faiss_index'], summary['approximate']) == (
        'faiss', 'HNSW8', True)


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """Another model, and a folder without a readable image."""
    folder = tmp_path_factory.mktemp('other')
    write_checkpoint(folder / 'other.pth', reid_config(), seed=1)
    write_tracklet(folder / 'broken', 1, 0)
    (folder / 'broken' / '0.jpg').write_bytes(b'no image')
    return folder


@pytest.mark.parametrize(('arguments', 'word'), [
    ('index {model} {other}/no --out g.npz', '/no'),
    ('index {model} {other} --out g.npz', 'readable'),
    ('index no.pth people --out g.npz', 'no.pth'),
    ('index {other}/other.pth people --out gallery.npz', 'other weights'),
    ('search no.npz people/p0/c0/t --checkpoint {model}', 'no.npz'),
    ('search gallery.npz people --checkpoint {model}', 'only folders'),
    ('search gallery.npz people/p0/c0/t {other}/broken --checkpoint {model}', 'broken'),
    ('search gallery.npz people/p0/c0/t --checkpoint {other}/other.pth',
     'other weights')])
def test_wrong_input(nest, model, indexed, other, tmp_path, arguments, word):
    shutil.copy(indexed / 'gallery.npz', tmp_path)
    (tmp_path / 'people').symlink_to(indexed / 'my people')
    before = sorted(os.listdir(tmp_path))
    arguments = [part.format(model=model, other=other) for part in arguments.split()]
    done = nest.run(TOOL, *arguments, cwd=tmp_path)
    assert_refused(done, word)
    assert not read(done.stdout)
    assert sorted(os.listdir(tmp_path)) == before
