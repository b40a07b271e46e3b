"""Which file on disk stands for a listed clip."""
import pytest

from cosam_mm.datasets.preparation.official_splits import ListedClip, SplitLists
from cosam_mm.datasets.preparation.video_matching import (
    index_videos,
    locate_clips,
    match_video,
)

AWKWARD = 'a (1) [x]&b!;#+@- $(touch y) %02d.v2.avi'


@pytest.fixture
def put(tmp_path):
    """Makes files below tmp_path; their content is of no account here."""
    def make(*paths, content=b'frames'):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return tmp_path
    return make


@pytest.mark.parametrize(('on_disk', 'listed'), [
    ('wave/w.avi', 'wave/w.avi'),
    ('wave/w.mp4', 'wave/w.avi'),
    ('wave/w.AVI', 'wave/w.avi'),
    ('wave/w.webm', 'wave/w.mp4'),
    ('HandstandPushups/v_HandstandPushups_g01.avi',
     'HandStandPushups/v_HandStandPushups_g01.avi'),
    (f'wave/{AWKWARD}', f'wave/{AWKWARD}'),
    (f'wave/{AWKWARD[:-4]}.mkv', f'wave/{AWKWARD}'),
])
def test_match_forgives_case_and_extension(put, on_disk, listed):
    index = index_videos(put(on_disk))

    assert match_video(ListedClip(*listed.split('/'), 0), index) == on_disk


@pytest.mark.parametrize('on_disk', [
    'wave/other.avi', 'clap/w.avi', 'w.avi', 'wave/sub/w.avi', 'wave/w.txt',
    'wave/.w.avi', 'wave/w.avi.part', 'wave/w.v2.avi'])
def test_no_match(put, on_disk):
    index = index_videos(put(on_disk))

    assert match_video(ListedClip('wave', 'w.avi', 0), index) is None


def test_empty_file_is_missing(put):
    root = put('wave/w.avi', content=b'')

    assert match_video(ListedClip('wave', 'w.avi', 0), index_videos(root)) is None


@pytest.mark.parametrize(('on_disk', 'best'), [
    (['wave/w.mp4', 'wave/w.avi'], 'wave/w.avi'),
    (['wave/w.webm', 'wave/w.mp4'], 'wave/w.mp4'),
    (['WAVE/w.avi', 'wave/w.mp4'], 'wave/w.mp4'),
    (['wave/W.avi', 'wave/w.mp4'], 'wave/w.mp4'),
])
def test_the_closest_of_several_files_wins(put, on_disk, best):
    index = index_videos(put(*on_disk))

    assert match_video(ListedClip('wave', 'w.avi', 0), index) == best


def test_two_spellings_of_a_folder_are_both_searched(put):
    index = index_videos(put('HandstandPushups/a.avi', 'HandStandPushups/b.avi'))

    found = [match_video(ListedClip('HandstandPushups', name, 0), index)
             for name in ('a.avi', 'b.avi')]

    assert found == ['HandstandPushups/a.avi', 'HandStandPushups/b.avi']


def test_linked_folders_are_followed(put, tmp_path):
    put('elsewhere/wave/w.avi')
    root = tmp_path / 'videos'
    root.mkdir()
    (root / 'wave').symlink_to(tmp_path / 'elsewhere' / 'wave')

    assert index_videos(root) == {('wave', 'w'): ['wave/w.avi']}


def test_locate_tells_found_missing_and_unlisted(put):
    there, gone, other = (ListedClip('wave', f'{k}.avi', 0) for k in 'abc')
    clips = {(1, 'train'): [there], (1, 'val'): [gone], (2, 'train'): [gone, there],
             (2, 'val'): []}
    lists = SplitLists('demo', ('wave',), clips, frozenset({other, there}))

    located = locate_clips(
        lists, index_videos(put('wave/a.mp4', 'wave/c.avi', 'wave/d.avi', 'x/a.avi')))

    assert located.found == {there: 'wave/a.mp4'}
    assert located.missing == [gone], 'c is used by no split, so it is no gap'
    assert located.num_unlisted == 2


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone is not a folder: expected a'):
        index_videos(tmp_path / 'gone')
