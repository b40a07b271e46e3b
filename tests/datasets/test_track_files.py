"""Track files as trackers, annotation tools and the MOT challenge write them."""
import pytest

from cosam_mm.datasets.preparation.track_files import BoxChoice, read_tracks

BOX = '794.27,247.59,71.245,174.88'
# frame, id and box, then what the flavour adds, by id.
MOT16 = {1: '1,1,1', 2: '1,1,0.25', 3: '1,1,0', 4: '0,1,1', 5: '1,3,1', 6: '0,12,0.9',
         7: '1,7,1', 8: '0,9,1'}
MOT16_REASONS = {
    'class 12 (reflection)': 2, 'class 3 (car)': 2, 'class 7 (static person)': 2,
    'class 9 (occluder)': 2, 'flag 0 (to be ignored)': 2, 'visibility 0': 2}
BOXMOT = {1: '0.91,0,-1', 2: '0.35,0,-1', 3: '0.88,2,-1'}  # COCO: person, car


def write(path, extras, mark=',', first=1):
    lines = [f'{frame},{track},{BOX}' + (f',{extra}' if extra else '')
             for frame in (first, first + 1) for track, extra in extras.items()]
    path.write_text('\n'.join(lines).replace(',', mark) + '\n')
    return path


def ids(file):
    return sorted({box.track for box in file.boxes})


@pytest.mark.parametrize(('extras', 'kept', 'left_out'), [
    ({1: '', 2: ''}, [1, 2], {}),
    # MOT15: results, ground truth in the image and in the world, detections
    ({1: '-1,-1,-1,-1', 2: '-1,-1,-1,-1'}, [1, 2], {}),
    ({1: '1,-1,-1,-1', 2: '0,-1,-1,-1'}, [1], {'flag 0 (to be ignored)': 2}),
    ({1: '1,-3.1,1,0', 2: '0,4,2,0', 3: '1,3,3,0'}, [1, 3],
     {'flag 0 (to be ignored)': 2}),
    ({-1: '0.9,-1,-1,-1', 1: '0.9,-1,-1,-1'}, [1], {'without an id': 2}),
    (MOT16, [1, 2], MOT16_REASONS),
    ({track: f'{extra},-1' for track, extra in MOT16.items()}, [1, 2], MOT16_REASONS),
    # results of several classes: COCO's numbers, the challenge's, names
    (BOXMOT, [1, 2], {'class 2': 2}),
    ({track: f'{extra},-1' for track, extra in BOXMOT.items()}, [1, 2], {'class 2': 2}),
    ({1: '0.9,1,-1', 2: '0.3,1.0,-1'}, [1, 2], {}),
    ({1: '0.9,Person', 2: '0.8,dog'}, [1], {'class dog': 2}),
    # BoxMOT in whole numbers, and counting from 1 with a flag and the confidence
    ({1: '0,0,-1', 2: '1,0,-1', 3: '0,2,-1'}, [1, 2], {'class 2': 2}),
    ({1: '1,1,0.9', 2: '1,1,0.3', 3: '1,3,0.9'}, [1, 2], {'class 3 (car)': 2}),
    # VisDrone: truncation and occlusion
    ({1: '1,1,0,0', 2: '1,1,1,2', 3: '1,4,0,1', 4: '0,0,0,0', 5: '0,1,0,0'}, [1, 2],
     {'class 0 (ignored region)': 2, 'class 4': 2, 'flag 0 (to be ignored)': 2}),
    # DeepSORT: a constant instead of a confidence
    ({1: '1,-1,-1,-1'}, [1], {})])
@pytest.mark.parametrize('mark', [',', ' ', '\t', ', ', ';', ' , '])
def test_flavours(tmp_path, extras, kept, left_out, mark):
    file = read_tracks(write(tmp_path / 'gt.txt', extras, mark))
    assert ids(file) == kept
    assert file.left_out == left_out
    assert file.boxes[0] == (1, kept[0], *map(float, BOX.split(',')))
    assert len(file.boxes) + sum(left_out.values()) == 2 * len(extras)


@pytest.mark.parametrize(('extras', 'choice', 'kept'), [
    (MOT16, dict(classes=['1', '7']), [1, 2, 7]), (MOT16, dict(classes=['Car']), [5]),
    (MOT16, dict(min_confidence=0), [1, 2, 4]),
    (MOT16, dict(min_visibility=.25), [1, 2]), (MOT16, dict(min_visibility=.3), [1]),
    (MOT16, dict(min_visibility=0), [1, 2, 3]),
    (BOXMOT, dict(min_confidence=.35), [1, 2]), (BOXMOT, dict(min_confidence=.4), [1]),
    (BOXMOT, dict(classes=[2]), [3])])
def test_choices(tmp_path, extras, choice, kept):
    assert ids(read_tracks(write(tmp_path / 'gt.txt', extras),
                           BoxChoice(**choice))) == kept


@pytest.mark.parametrize(('extras', 'choice', 'match'), [
    ({1: ''}, dict(classes=['1']), '--classes'),
    ({1: '-1,-1,-1,-1'}, dict(min_confidence=.5), '--min-confidence'),
    (BOXMOT, dict(min_visibility=.5), '--min-visibility'),
    ({1: '0.9,2,-1', 2: '0.9,7,-1'}, {}, 'class 2: 2 boxes.*--classes'),
    (MOT16, dict(classes=['cat']), '--classes'),
    ({-1: '0.9,-1,-1,-1'}, {}, 'until a tracker'),
    (MOT16, dict(min_visibility=2), 'no box is left')])
def test_choices_that_the_file_does_not_allow(tmp_path, extras, choice, match):
    with pytest.raises(ValueError, match=match):
        read_tracks(write(tmp_path / 'gt.txt', extras), BoxChoice(**choice))


def test_labels_of_an_annotation_tool(tmp_path):
    path = write(tmp_path / 'gt.txt', {1: '1,1,1', 2: '1,2,1', 3: '0,2,1'})
    assert ids(read_tracks(path)) == [1]
    (tmp_path / 'labels.txt').write_text('\ufeffdog\nPerson\n', encoding='utf-8')
    file = read_tracks(path)
    assert ids(file) == [2]
    assert file.left_out == {'class 1 (dog)': 2, 'flag 0 (to be ignored)': 2}
    (tmp_path / 'labels.txt').write_text('dog\ncat\n')
    with pytest.raises(ValueError, match=r'class 2 \(cat\)'):
        read_tracks(path)


def test_frames_from_0(tmp_path):
    path = write(tmp_path / 't.txt', {1: ''}, first=0)
    with pytest.raises(ValueError, match='--first-frame 0'):
        read_tracks(path)
    assert [box.frame for box in read_tracks(path, BoxChoice(first_frame=0)).boxes] == [
        1, 2]


@pytest.mark.parametrize(('line', 'match'), [
    ('0 0.3 0.4 0.1 0.33 1', 'the id'),  # Ultralytics: class, box as shares, id
    ('0 1 Pedestrian 0 0 -1.57 80 40 110 120', 'Pedestrian')])  # KITTI
def test_first_frame_is_no_advice_for_other_formats(tmp_path, line, match):
    path = tmp_path / 't.txt'
    path.write_text(line)
    with pytest.raises(ValueError, match=match) as error:
        read_tracks(path)
    assert 'first-frame' not in str(error.value)


def test_ids_may_repeat_among_classes(tmp_path):
    path = tmp_path / 't.txt'
    path.write_text(f'# frame id\n1,1,{BOX},0.9,0\n1,1,{BOX},0.9,2\n')
    assert ids(read_tracks(path)) == [1]
    with pytest.raises(ValueError, match='line 3.*twice'):
        read_tracks(path, BoxChoice(classes=[0, 2]))


def test_what_trackers_write_is_read(tmp_path):
    path = tmp_path / 'tracks.txt'
    path.write_bytes('\ufeff1, 2, 3.5, -4, 5e1, 6\r\n\r\n2.0,0,1,1,2,2,0.9,a,b\r\n'
                     .encode())
    assert read_tracks(str(path)).boxes == [
        (1, 2, 3.5, -4.0, 50.0, 6.0), (2, 0, 1.0, 1.0, 2.0, 2.0)]


@pytest.mark.parametrize('line', [
    '1,2,3,4,5', '1 2 3 4 5', 'frame,id,x,y,w,h', '0,2,3,4,5,6', '1.5,2,3,4,5,6',
    'nan,2,3,4,5,6', '1,-2,3,4,5,6', '1,2,3,4,,6', '1,2,3,nan,5,6', '1,2,3,inf,5,6',
    '3,2,9,9,9,9'])
def test_a_malformed_line_is_shown_with_its_number(tmp_path, line):
    path = tmp_path / 'tracks.txt'
    path.write_text(f'3,2,1,1,9,9\n\n{line}\n')
    with pytest.raises(ValueError, match=f"line 3: '{line}'"):
        read_tracks(path)


@pytest.mark.parametrize(('content', 'reason'), [
    (b'1,1,1,1,9,9\n\xff\xfe\x00,2\n', 'line 2'), (b'\n \n', 'no box')])
def test_files_that_are_no_tracks(tmp_path, content, reason):
    path = tmp_path / 'tracks.txt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_tracks(path)
