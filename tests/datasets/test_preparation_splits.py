"""Split files: what they say, what they may not say, and the official counts."""
import pytest

from cosam_mm.datasets.preparation import official_splits as splits
from cosam_mm.datasets.preparation.official_splits import (
    OFFICIAL_COUNTS,
    ListedClip,
    OfficialCounts,
    check_counts,
    parse_hmdb51_splits,
    parse_ucf101_splits,
)


def write_hmdb51(folder, wave='w 1.avi 1 \nw 2.avi 2\n', clap='c[1]&;.avi 1\n'):
    for split in (1, 2, 3):
        (folder / f'wave_test_split{split}.txt').write_text(wave)
        (folder / f'clap_test_split{split}.txt').write_text(clap)
    return folder


def write_ucf101(folder, **replaced):
    files = {'classInd': '1 YoYo\r\n2 HandstandPushups\r\n'}
    for split in (1, 2, 3):
        files[f'trainlist0{split}'] = (
            'YoYo/v_YoYo_g01.avi 1\r\nHandStandPushups/v_HandStandPushups_g01.avi 2\n')
        files[f'testlist0{split}'] = 'HandstandPushups/v_HandStandPushups_g02.avi\r\n'
    for name, text in {**files, **replaced}.items():
        (folder / f'{name}.txt').write_bytes(text.encode())
    return folder


def test_hmdb51_labels_follow_the_alphabet_and_the_codes_become_subsets(tmp_path):
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


def test_hmdb51_passes_over_files_of_another_kind(tmp_path):
    write_hmdb51(tmp_path)
    (tmp_path / 'readme.txt').write_text('not a list')
    (tmp_path / '._wave_test_split1.txt').write_text('left by an archiver')

    assert parse_hmdb51_splits(tmp_path, 'demo').classes == ('clap', 'wave')


@pytest.mark.parametrize('line', [
    'w.avi', 'w.avi 3', 'w.avi 1 2 x', '1', 'w 1', 'sub/w.avi 1', '..\\w.avi 1'])
def test_hmdb51_malformed_line_is_named(tmp_path, line):
    write_hmdb51(tmp_path, wave=f'ok.avi 1\n\n{line}\n')

    with pytest.raises(ValueError, match='expected a file name and 0, 1 or 2') as info:
        parse_hmdb51_splits(tmp_path)

    assert f'{tmp_path / "wave_test_split1.txt"}, line 3: {line!r}' in str(info.value)


def test_hmdb51_clip_listed_twice(tmp_path):
    write_hmdb51(tmp_path, wave='w.avi 1\nv.avi 2\nw.avi 2\n')

    with pytest.raises(ValueError, match=r'line 3: .*each clip once in a split, this '
                       r'one stands in wave_test_split1\.txt, line 1 already'):
        parse_hmdb51_splits(tmp_path)


def test_hmdb51_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'gone is not a folder'):
        parse_hmdb51_splits(tmp_path / 'gone')
    with pytest.raises(FileNotFoundError, match=r'holds no split file: expected <cl'):
        parse_hmdb51_splits(tmp_path)
    write_hmdb51(tmp_path)
    (tmp_path / 'clap_test_split2.txt').unlink()
    with pytest.raises(FileNotFoundError,
                       match=r'clap_test_split2\.txt is not there: the lists are inc'):
        parse_hmdb51_splits(tmp_path)


def test_hmdb51_empty_and_binary_files(tmp_path):
    write_hmdb51(tmp_path, clap='\n')
    with pytest.raises(ValueError, match=r'clap_test_split1\.txt lists no clip'):
        parse_hmdb51_splits(tmp_path)
    (tmp_path / 'clap_test_split1.txt').write_bytes(b'caf\xe9.avi 1\n')
    with pytest.raises(ValueError, match=r'clap_test_split1\.txt is not a UTF-8 text'):
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


def test_ucf101_byte_order_mark(tmp_path):
    write_ucf101(tmp_path, classInd='\ufeff1 YoYo\r\n2 HandstandPushups\r\n')

    assert parse_ucf101_splits(tmp_path).classes == ('YoYo', 'HandstandPushups')


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('classInd', '1 YoYo\n3 Archery\n',
     r"classInd\.txt, line 2: '3 Archery': expected index 2 and a class name"),
    ('classInd', 'YoYo\n', r"line 1: 'YoYo': expected index 1"),
    ('classInd', '1 YoYo\n2 yoyo\n', r'line 2: .*each class once'),
    ('classInd', '', r'classInd\.txt names no class'),
    ('trainlist02', 'YoYo/v.avi\n',
     r"trainlist02\.txt, line 1: 'YoYo/v\.avi': expected class/file and class index, "
     r"as in 'Archery/v_Archery_g01_c01\.avi 3'"),
    ('trainlist01', 'YoYo/v.avi 2\n', r'expected index 1, that of YoYo in classInd'),
    ('trainlist01', 'Yo/v.avi 1\n', r'expected a class that classInd\.txt names'),
    ('trainlist01', 'YoYo/../v.avi 1\n', r'expected class/file and class index'),
    ('trainlist01', '', r'trainlist01\.txt lists no clip'),
    ('testlist03', 'YoYo/v.avi 1\n',
     r"testlist03\.txt, line 1: 'YoYo/v\.avi 1': expected class/file, as in "
     r"'Archery/v_Archery_g01_c01\.avi'"),
    ('testlist01', 'YoYo/a.avi\nYoYo/v_YoYo_g01.avi\n',
     r'testlist01\.txt, line 2: .* stands in trainlist01\.txt, line 1 already'),
])
def test_ucf101_malformed_files_are_named(tmp_path, name, text, message):
    write_ucf101(tmp_path, **{name: text})

    with pytest.raises(ValueError, match=message):
        parse_ucf101_splits(tmp_path)


def test_ucf101_missing_file(tmp_path):
    write_ucf101(tmp_path)
    (tmp_path / 'testlist02.txt').unlink()

    with pytest.raises(FileNotFoundError, match=r'testlist02\.txt is not there'):
        parse_ucf101_splits(tmp_path)


def test_counts_that_differ_are_named(tmp_path):
    lists = parse_hmdb51_splits(write_hmdb51(tmp_path))
    check_counts(lists, OfficialCounts(2, {1: (2, 1), 2: (2, 1), 3: (2, 1)}))

    with pytest.raises(ValueError, match='of hmdb51 name 2 classes, expected 51'):
        check_counts(lists, OFFICIAL_COUNTS['hmdb51'])
    with pytest.raises(ValueError, match='list 2 train clips in split 1, expected 3'):
        check_counts(lists, OfficialCounts(2, {1: (3, 1)}))
    with pytest.raises(ValueError, match='list 1 val clips in split 2, expected 4'):
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
