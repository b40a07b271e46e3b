"""Split files: what they say and may not say, official counts, videos on disk."""
import pytest

from cosam_mm.datasets.preparation import official_splits as splits
from cosam_mm.datasets.preparation.official_splits import (
    OFFICIAL_COUNTS,
    ListedClip,
    OfficialCounts,
    SplitLists,
    check_counts,
    index_videos,
    locate_clips,
    match_video,
    parse_hmdb51_splits,
    parse_ucf101_splits,
)

AWKWARD = 'a (1) [x]&b!;#+@- $(touch y) %02d.v2.avi'


def write_hmdb51(folder, wave='w 1.avi 1 \nw 2.avi 2\n', clap='c[1]&;.avi 1\n'):
    for split in (1, 2, 3):
        (folder / f'wave_test_split{split}.txt').write_text(wave)
        (folder / f'clap_test_split{split}.txt').write_text(clap)
    return folder


def write_ucf101(folder, **replaced):
    files = {'classInd': '\ufeff1 YoYo\r\n2 HandstandPushups\r\n'}
    for split in (1, 2, 3):
        files[f'trainlist0{split}'] = (
            'YoYo/v_YoYo_g01.avi 1\r\nHandStandPushups/v_HandStandPushups_g01.avi 2\n')
        files[f'testlist0{split}'] = 'HandstandPushups/v_HandStandPushups_g02.avi\r\n'
    for name, text in {**files, **replaced}.items():
        (folder / f'{name}.txt').write_bytes(text.encode())
    return folder


def test_hmdb51_labels_follow_the_alphabet_and_the_codes_become_subsets(tmp_path):
    (tmp_path / 'readme.txt').write_text('not a list')
    (tmp_path / '._wave_test_split1.txt').write_text('left by an archiver')
    lists = parse_hmdb51_splits(
        write_hmdb51(tmp_path, wave='w 1.avi 1 \r\n\r\nw 2.avi 2\r\nw 3.avi 0 \r\n'))

    assert lists.classes == ('clap', 'wave')
    assert lists.name == 'hmdb51'
    for split in (1, 2, 3):
        assert lists.clips[split, 'train'] == [
            ListedClip('clap', 'c[1]&;.avi', 0), ListedClip('wave', 'w 1.avi', 1)]
        assert lists.clips[split, 'val'] == [ListedClip('wave', 'w 2.avi', 1)]
    assert lists.unused == {ListedClip('wave', 'w 3.avi', 1)}
    assert [clip.path for clip in lists.used_clips()] == [
        'clap/c[1]&;.avi', 'wave/w 1.avi', 'wave/w 2.avi']


@pytest.mark.parametrize('line', [
    'w.avi', 'w.avi 3', 'w.avi 1 2 x', '1', 'w 1', 'sub/w.avi 1', '..\\w.avi 1'])
def test_hmdb51_malformed_line_is_named(tmp_path, line):
    write_hmdb51(tmp_path, wave=f'ok.avi 1\n\n{line}\n')

    with pytest.raises(ValueError, match='0, 1 or 2') as info:
        parse_hmdb51_splits(tmp_path)

    assert f'{tmp_path / "wave_test_split1.txt"}, line 3: {line!r}' in str(info.value)


def test_hmdb51_clip_listed_twice(tmp_path):
    write_hmdb51(tmp_path, wave='w.avi 1\nv.avi 2\nw.avi 2\n')

    with pytest.raises(ValueError, match='line 3: .*line 1'):
        parse_hmdb51_splits(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone'):
        parse_hmdb51_splits(tmp_path / 'gone')
    with pytest.raises(FileNotFoundError, match='no split file'):
        parse_hmdb51_splits(tmp_path)
    write_hmdb51(tmp_path)
    (tmp_path / 'clap_test_split2.txt').unlink()
    with pytest.raises(FileNotFoundError, match='clap_test_split2.txt'):
        parse_hmdb51_splits(tmp_path)
    (write_ucf101(tmp_path) / 'testlist02.txt').unlink()
    with pytest.raises(FileNotFoundError, match='testlist02.txt'):
        parse_ucf101_splits(tmp_path)


def test_hmdb51_empty_and_binary_files(tmp_path):
    write_hmdb51(tmp_path, clap='\n')
    with pytest.raises(ValueError, match='clap_test_split1.txt names no'):
        parse_hmdb51_splits(tmp_path)
    (tmp_path / 'clap_test_split1.txt').write_bytes(b'caf\xe9.avi 1\n')
    with pytest.raises(ValueError, match='clap_test_split1.txt.*UTF-8'):
        parse_hmdb51_splits(tmp_path)


def test_ucf101_labels_follow_the_index_from_zero(tmp_path):
    lists = parse_ucf101_splits(write_ucf101(tmp_path))

    assert lists.classes == ('YoYo', 'HandstandPushups')
    assert lists.clips[1, 'train'] == [
        ListedClip('YoYo', 'v_YoYo_g01.avi', 0),
        ListedClip('HandstandPushups', 'v_HandStandPushups_g01.avi', 1)]
    assert lists.clips[3, 'val'] == [
        ListedClip('HandstandPushups', 'v_HandStandPushups_g02.avi', 1)]
    assert len(lists.used_clips()) == 3, 'one video, however its folder is spelt'


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('classInd', '1 YoYo\n3 Archery\n',
     r"classInd\.txt, line 2: '3 Archery': expected index 2 and a class name"),
    ('classInd', 'YoYo\n', r"line 1: 'YoYo': expected an index"),
    ('classInd', '1 YoYo\n2 yoyo\n', r'line 2: .*each class once'),
    ('classInd', '', r'classInd\.txt names no class'),
    ('trainlist02', 'YoYo/v.avi\n',
     r"trainlist02\.txt, line 1: 'YoYo/v\.avi': expected .*class index"),
    ('trainlist01', 'YoYo/v.avi 2\n', r'expected index 1, that of YoYo in classInd'),
    ('trainlist01', 'Yo/v.avi 1\n', r'expected a class that classInd\.txt names'),
    ('trainlist01', 'YoYo/../v.avi 1\n', r'expected class/file and class index'),
    ('trainlist01', '', r'trainlist01\.txt names no clip'),
    ('testlist03', 'YoYo/v.avi 1\n',
     r"testlist03\.txt, line 1: 'YoYo/v\.avi 1': expected class/file, "),
    ('testlist01', 'YoYo/a.avi\nYoYo/v_YoYo_g01.avi\n',
     r'testlist01\.txt, line 2: .* trainlist01\.txt, line 1'),
])
def test_ucf101_malformed_files_are_named(tmp_path, name, text, message):
    write_ucf101(tmp_path, **{name: text})

    with pytest.raises(ValueError, match=message):
        parse_ucf101_splits(tmp_path)


def test_counts_that_differ_are_named(tmp_path):
    lists = parse_hmdb51_splits(write_hmdb51(tmp_path))
    check_counts(lists, OfficialCounts(2, {1: (2, 1), 2: (2, 1), 3: (2, 1)}))

    with pytest.raises(ValueError, match='2 classes'):
        check_counts(lists, OFFICIAL_COUNTS['hmdb51'])
    with pytest.raises(ValueError, match='2 train clips in split 1'):
        check_counts(lists, OfficialCounts(2, {1: (3, 1)}))
    with pytest.raises(ValueError, match='1 val clips in split 2'):
        check_counts(lists, OfficialCounts(2, {2: (2, 4)}))


@pytest.mark.parametrize('name', ['hmdb51', 'ucf101'])
def test_official_files_pass(real_data_dir, name):
    lists = splits.PARSERS[name](real_data_dir / name / 'splits')

    check_counts(lists, OFFICIAL_COUNTS[name])
    for split in splits.SPLITS:
        train, val = (set(lists.clips[split, subset]) for subset in splits.SUBSETS)
        assert not train & val
        assert {clip.label for clip in train} == set(range(len(lists.classes)))


def test_official_totals_and_labels(real_data_dir):
    hmdb51 = parse_hmdb51_splits(real_data_dir / 'hmdb51' / 'splits')
    ucf101 = parse_ucf101_splits(real_data_dir / 'ucf101' / 'splits')

    assert len({*hmdb51.used_clips(), *hmdb51.unused}) == 6766
    assert len(ucf101.used_clips()) == 13320
    assert list(hmdb51.classes) == sorted(hmdb51.classes)
    assert hmdb51.classes.index('wave') == 50
    assert ucf101.classes.index('HandstandPushups') == 36


# Which file on disk stands for a listed clip.


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
    put(on_disk)
    index = index_videos(put('wave/w.mp4', content=b''))  # a broken download

    assert match_video(ListedClip('wave', 'w.avi', 0), index) is None


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
    with pytest.raises(FileNotFoundError, match='gone'):
        index_videos(tmp_path / 'gone')
