"""Videos of one's own: which clips are one recording, lists, and the split."""
from collections import Counter

import pytest

from cosam_mm.datasets.preparation.annotation_files import read_list, read_names
from cosam_mm.datasets.preparation.own_data import group_clips, split_groups


def clips_of(names):
    """Clips of the class that is their first folder."""
    return {name: name.split('/')[0] for name in names.split()}


@pytest.mark.parametrize(('names', 'together'), [
    # As the official lists group them: UCF101 by _g01, HMDB51 by source.
    ('a/v_a_g01_c01.avi a/v_a_g01_c02.avi a/v_a_g02_c01.avi', 'v_a_g01'),
    ('a/X_Y_a_f_cm_np1_fr_med_0.avi a/X_Y_a_u_nm_np2_ba_goo_3.avi '
     'a/Z_a_f_cm_np1_fr_bad_1.avi',
     'X_Y_a'),
    ('a/film_part1.mp4 a/film_part2.mp4 a/other.mp4', 'film'),
    ('a/film-scene1.mp4 a/film-scene2.mp4 a/other.mp4', 'film'),
    ('a/cam_0001.mp4 a/cam_0002.mp4 a/dog_0001.mp4', 'cam'),
    ('a/anna/1.mp4 a/anna/2.mp4 a/bert/1.mp4', 'anna'),
])
def test_clips_of_one_recording_are_told_by_names(names, together):
    clips = clips_of(names)
    recordings, in_doubt = group_clips(clips)
    first, second, other = clips
    assert recordings[first] == recordings[second] == together
    assert recordings[other] != together
    assert in_doubt == {}


@pytest.mark.parametrize(('names', 'doubted'), [
    ('a/x_1.mp4 a/x_2.mp4 a/x_3.mp4 b/p.mp4 b/q.mp4', ['a']),
    ('a/x.mp4 a/y.mp4 b/p.mp4 b/q.mp4', []),
    ('a/20240101.mp4 a/20240102.mp4', [])])
def test_a_class_that_may_be_one_recording_is_named(names, doubted):
    clips = clips_of(names)
    recordings, in_doubt = group_clips(clips)
    assert list(in_doubt) == doubted
    assert recordings == {path: path for path in clips}


def test_a_recording_is_one_in_all_classes():
    recordings, _ = group_clips(clips_of(
        'a/match1_01.mp4 a/match1_02.mp4 a/match2_01.mp4 b/match1_03.mp4 '
        'b/match3_01.mp4 b/match3_02.mp4'))
    assert recordings['a/match1_01.mp4'] == recordings['b/match1_03.mp4'] == 'match1'


def test_regex_of_the_user():
    clips = clips_of('a/d1-x.mp4 a/d1-y.mp4 b/d2-x.mp4 b/none.mp4')
    assert group_clips(clips, r'/(d\d)-') == ({
        'a/d1-x.mp4': 'd1', 'a/d1-y.mp4': 'd1', 'b/d2-x.mp4': 'd2',
        'b/none.mp4': 'b/none.mp4'}, {})
    for wrong, word in (('(', 'regex'), ('d', 'group'), ('(z)', 'match')):
        with pytest.raises(ValueError, match=word):
            group_clips(clips, wrong)


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('share', [0.1, 0.2, 0.5])
def test_split_parts_no_recording_and_keeps_the_share(seed, share):
    clips, recordings = {}, {}
    for k in range(120):
        path = f'{"abc"[k % 3]}/{seed}_{k}.mp4'
        clips[path], recordings[path] = path[0], f'{seed} {k // 5}'  # across classes
    val = split_groups(clips, recordings, share)
    sides = [{recordings[path] for path in clips if (path in val) == side}
             for side in (True, False)]
    assert not sides[0] & sides[1]
    for label, count in Counter(clips[path] for path in val).items():
        assert 0 < count <= max(1, round(share * 40)), label
    assert len(val) >= 0.6 * share * 120
    again = dict(reversed(clips.items()))
    assert split_groups(again, recordings, share) == val  # whatever the order


def test_classes_of_few_recordings():
    clips = clips_of('a/1 a/2 a/3 b/1 b/2 c/1 c/2 d/1 d/2 d/3 d/4 d/5')
    recordings = {'a/1': 'A', 'a/2': 'A', 'a/3': 'B', 'b/1': 'C', 'b/2': 'D',
                  'c/1': 'E', 'c/2': 'E', 'd/1': 'F', 'd/2': 'F', 'd/3': 'F',
                  'd/4': 'G', 'd/5': 'G'}
    val = split_groups(clips, recordings, 0.1)
    assert 'a/3' in val  # a third of the class, the smaller of its two recordings
    assert len(val & {'b/1', 'b/2'}) == 1
    assert not val & {'c/1', 'c/2'}  # one recording trains
    assert {'d/4', 'd/5'} == {path for path in val if path[0] == 'd'}


@pytest.mark.parametrize('text', [
    'x y/1.mp4 run\nz.mp4 walk\n', 'x y/1.mp4,run\nz.mp4,walk\n',
    '\ufeffx y/1.mp4;run\n\nz.mp4;walk\n', 'x y/1.mp4\trun\nz.mp4\twalk\n',
    'label,fold,file\nrun,1,x y/1.mp4\nwalk,2,z.mp4\n',
    '"x y/1.mp4","run"\nz.mp4,walk\n'])
def test_lists_of_all_kinds(tmp_path, text):
    file = tmp_path / 'list.txt'
    file.write_text(text, encoding='utf-8')
    assert read_list(file, tmp_path / 'v') == {'x y/1.mp4': 'run', 'z.mp4': 'walk'}


def test_absolute_paths_of_a_list(tmp_path):
    (tmp_path / 'list.csv').write_text(f'{tmp_path}/v/a.mp4,run\n')
    assert read_list(tmp_path / 'list.csv', tmp_path / 'v') == {'a.mp4': 'run'}
    with pytest.raises(ValueError, match='below'):
        read_list(tmp_path / 'list.csv', tmp_path / 'w')


@pytest.mark.parametrize(('text', 'word'), [
    ('a.mp4,run,walk\n', 'several'), ('a.mp4,run\na.mp4,walk\n', 'several'),
    ('a.mp4,\n', 'expected'), ('a.mp4\n', 'expected'), ('', 'no clip')])
def test_malformed_lists(tmp_path, text, word):
    (tmp_path / 'list.csv').write_text(text)
    with pytest.raises(ValueError, match=word):
        read_list(tmp_path / 'list.csv', tmp_path)


@pytest.mark.parametrize('text', ['a/x y.mp4\nb/z.mp4\n', 'a/x y.mp4 0\nb/z.mp4 1\n',
                                  'a/x y.mp4,a\nb/z.mp4,b\n'])
def test_names_to_validate_with(tmp_path, text):
    (tmp_path / 'val.txt').write_text(text)
    clips = {'a/x y.mp4': 'a', 'b/z.mp4': 'b', 'b/w.mp4': 'b'}
    assert read_names(tmp_path / 'val.txt', clips) == {'a/x y.mp4', 'b/z.mp4'}
    with pytest.raises(ValueError, match='unknown'):
        read_names(tmp_path / 'val.txt', {'a/x y.mp4': 'a'})
