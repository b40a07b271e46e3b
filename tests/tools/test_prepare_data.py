"""The command `tools/prepare_data.py`, on real lists and real encoded videos."""
import importlib.util
import json
import os
from dataclasses import asdict

import cv2
import numpy as np
import pytest

from cosam_mm.datasets import preparation
from cosam_mm.datasets.preparation import OfficialCounts
from cosam_mm.datasets.synthetic.motion_clip import ClutterConfig
from tests.tool_process import assert_refused

NAMES = ('w (1) [x]&b!;#+@-.avi', 'w2.avi', 'w3.avi')


@pytest.fixture(scope='module')
def tool(repo):
    """The tool as a function of its arguments that returns its status."""
    spec = importlib.util.spec_from_file_location(
        'prepare_data', repo / 'tools' / 'prepare_data.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        try:
            return module.main([str(arg) for arg in args])
        except SystemExit as error:
            return error.code
    return run


@pytest.fixture
def small(tmp_path, monkeypatch):
    """HMDB51 with two classes of three clips: 1 for training, 1 for testing."""
    splits, videos = tmp_path / 'splits', tmp_path / 'my videos'
    splits.mkdir()
    for folder in ('clap', 'wave'):
        (videos / folder).mkdir(parents=True)
        for name in NAMES:
            write_video(videos / folder / name)
        lines = ''.join(f'{name} {use} \n' for name, use in zip(NAMES, '120'))
        for split in (1, 2, 3):
            (splits / f'{folder}_test_split{split}.txt').write_text(lines)
    monkeypatch.setitem(
        preparation.OFFICIAL_COUNTS, 'hmdb51',
        OfficialCounts(2, {split: (2, 2) for split in (1, 2, 3)}))
    return tmp_path


def write_video(path, num_frames=3):
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'MJPG'), 25, (64, 48))
    assert writer.isOpened()
    for k in range(num_frames):
        writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
    writer.release()


def small_args(root, *more):
    return ['hmdb51', '--videos', str(root / 'my videos'), '--splits',
            str(root / 'splits'), '--out', str(root / 'out dir'), *more]


def test_complete_data_set(tool, small, capsys):
    out = small / 'out dir'

    for _ in range(2):  # it can be run again
        assert tool(*small_args(small)) == 0

    assert (out / 'hmdb51_classes.txt').read_text() == 'clap\nwave\n'
    for split in (1, 2, 3):
        train = out / f'hmdb51_train_split_{split}_videos.txt'
        assert train.read_text() == f'clap/{NAMES[0]} 0\nwave/{NAMES[0]} 1\n'
        val = out / f'hmdb51_val_split_{split}_videos.txt'
        assert val.read_text() == f'clap/{NAMES[1]} 0\nwave/{NAMES[1]} 1\n'
    assert (out / 'videos').samefile(small / 'my videos')
    assert len(list(out.iterdir())) == 8
    printed = capsys.readouterr().out
    assert '2 classes, 4 of 4 listed videos found, 0 videos in no list' in printed
    assert 'videos split 3 val: 2/2' in printed
    assert printed.endswith(
        'next: python tools/train.py configs/resnext101_cosam_bert_hmdb51.py '
        f"--data-root '{out}' --split 1\n")


def test_a_gap_is_named_and_stops(tool, small, capsys):
    (small / 'my videos' / 'wave' / NAMES[0]).unlink()
    (small / 'my videos' / 'wave' / 'unlisted.avi').write_bytes(b'x')
    (small / 'my videos' / 'clap' / NAMES[2]).unlink()  # in no split: no gap
    out = small / 'out dir'

    assert tool(*small_args(small)) == 1

    printed = capsys.readouterr()
    assert '3 of 4 listed videos found, 1 videos in no list' in printed.out
    assert '1 videos are missing:\n  wave: 1 of 2\n' in printed.out
    assert f'  wave/{NAMES[0]}\n' in printed.out
    assert 'error: videos are missing, no annotation was written' in printed.err
    assert (out / 'missing_videos.txt').read_text() == f'wave/{NAMES[0]}\n'
    assert os.listdir(out) == ['missing_videos.txt']


def test_a_gap_may_be_allowed_and_be_filled_later(tool, small, capsys):
    for name in NAMES[:2]:
        (small / 'my videos' / 'clap' / name).unlink()
    (small / 'my videos' / 'wave' / NAMES[1]).unlink()
    out = small / 'out dir'

    assert tool(*small_args(small, '--allow-missing')) == 0

    assert (out / 'hmdb51_train_split_1_videos.txt').read_text() == (
        f'wave/{NAMES[0]} 1\n')
    assert (out / 'hmdb51_val_split_1_videos.txt').read_text() == ''
    printed = capsys.readouterr().out
    assert 'videos split 1 train: 1/2' in printed
    assert 'videos split 1 val: 0/2' in printed
    assert 'next: ' in printed

    for folder, name in (('clap', NAMES[0]), ('clap', NAMES[1]), ('wave', NAMES[1])):
        write_video(small / 'my videos' / folder / name)
    assert tool(*small_args(small)) == 0
    assert not (out / 'missing_videos.txt').exists()
    assert (out / 'hmdb51_val_split_1_videos.txt').read_text().count('\n') == 2


def test_a_flat_folder_is_refused_and_nothing_written(nest, small):
    flat = small / 'my videos' / 'wave'
    args = ['ucf101' if arg == 'hmdb51' else arg for arg in small_args(small)]
    args[args.index('--videos') + 1] = str(flat)
    (small / 'splits' / 'classInd.txt').write_text(''.join(
        f'{k} wave{k}\n' for k in range(1, 102)))
    for split, (train, val) in preparation.OFFICIAL_COUNTS['ucf101'].clips.items():
        (small / 'splits' / f'trainlist0{split}.txt').write_text(
            ''.join(f'wave1/a{k}.avi 1\n' for k in range(train)))
        (small / 'splits' / f'testlist0{split}.txt').write_text(
            ''.join(f'wave1/b{k}.avi\n' for k in range(val)))
    done = nest.run('tools/prepare_data.py', *args, '--allow-missing', cwd=small)
    assert_refused(done, '/wave1/<clip>')
    assert not (small / 'out dir').exists()


def test_real_clips(tool, real_data_dir, tmp_path, capsys):
    folder = real_data_dir / 'hmdb51'

    assert tool('hmdb51', '--videos', folder / 'videos', '--splits', folder / 'splits',
                '--out', tmp_path, '--allow-missing') == 0

    printed = capsys.readouterr().out
    classes = (tmp_path / 'hmdb51_classes.txt').read_text().splitlines()
    for split, subset, found, total in ((1, 'train', 2, 3570), (1, 'val', 2, 1530),
                                        (2, 'train', 3, 3570), (3, 'val', 1, 1530)):
        name = f'hmdb51_{subset}_split_{split}_videos.txt'
        lines = (tmp_path / name).read_text().splitlines()
        assert len(lines) == found
        assert f'videos split {split} {subset}: {found}/{total}\n' in printed
        for line in lines:
            path, label = line.rsplit(' ', 1)
            assert path.split('/')[0] == classes[int(label)]
            assert (tmp_path / 'videos' / path).is_file()


def test_frames_and_flow(tool, small, capsys):
    out = small / 'out dir'

    status = tool(*small_args(
        small, '--flow', 'farneback', '--short-side', '24', '--num-workers', '0'))

    assert status == 0
    stem = NAMES[0][:-4]
    assert (out / 'hmdb51_train_split_2_rawframes.txt').read_text() == (
        f'clap/{stem} 3 0\nwave/{stem} 3 1\n')
    folder = out / 'rawframes' / 'wave' / stem
    assert sorted(os.listdir(folder)) == sorted(
        f'{kind}_{k:05d}.jpg' for k in (1, 2, 3)
        for kind in ('img', 'flow_x', 'flow_y'))
    assert cv2.imread(str(folder / 'img_00003.jpg')).shape == (24, 32, 3)
    assert not (out / 'rawframes' / 'wave' / NAMES[2][:-4]).exists(), 'in no split'
    printed = capsys.readouterr().out
    assert 'frames of 4 videos in' in printed
    assert 'configs/resnext101_bert_hmdb51_flow.py' in printed

    tool(*small_args(small, '--frames', '--short-side', '24', '--num-workers', '0'))
    assert '4 of them from before' in capsys.readouterr().out


def test_unreadable_clips(tool, small, capsys):
    (small / 'my videos' / 'wave' / NAMES[1]).write_bytes(b'RIFF but no more')
    out = small / 'out dir'
    args = small_args(small, '--frames', '--num-workers', '0')

    assert tool(*args) == 1
    printed = capsys.readouterr()
    assert f'1 videos cannot be read:\nthe first 1 (all 1: {out}' in printed.out
    assert f'  wave/{NAMES[1]}\t' in printed.out
    assert 'error: videos cannot be read, no list of frames was written' in printed.err
    named = (out / 'unreadable_videos.txt').read_text()
    assert named.startswith(f'wave/{NAMES[1]}\tPyAV: ')
    assert 'OpenCV: ' in named
    assert not list(out.glob('*rawframes.txt'))

    assert tool(*[*args, '--allow-missing']) == 0
    lists = (out / 'hmdb51_val_split_1_rawframes.txt').read_text()
    assert lists == f'clap/{NAMES[1][:-4]} 3 0\n'
    assert 'rawframes split 1 val: 1/2' in capsys.readouterr().out

    write_video(small / 'my videos' / 'wave' / NAMES[1])
    assert tool(*args) == 0
    assert not (out / 'unreadable_videos.txt').exists()


def test_wrong_lists_are_errors(tool, small, capsys):
    path = small / 'splits' / 'wave_test_split3.txt'

    path.write_text(f'{NAMES[0]} 1\n')
    assert tool(*small_args(small, '--allow-missing')) == 2
    assert capsys.readouterr().err == (
        'error: the split files of hmdb51 list 1 val clips in split 3, expected 2: get '
        'the official split files again\n')

    path.write_text(f'{NAMES[0]} 1\nnonsense\n')
    assert tool(*small_args(small)) == 2
    assert f"error: {path}, line 2: 'nonsense': expected" in capsys.readouterr().err
    assert not (small / 'out dir').exists()


def test_another_videos_folder_is_never_replaced(tool, small, capsys):
    mine = small / 'out dir' / 'videos' / 'mine.avi'
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b'mine')

    assert tool(*small_args(small)) == 2
    assert capsys.readouterr().err.startswith('error: ')
    assert mine.read_bytes() == b'mine'


def test_a_bug_is_not_shown_as_a_mistake(tool, small, monkeypatch):
    """An error that no ``raise`` of this project made keeps its traceback."""
    monkeypatch.setattr(preparation, 'check_counts', lambda *_: int('a bug'))
    with pytest.raises(ValueError, match='a bug'):
        tool(*small_args(small))
    monkeypatch.setattr(preparation, 'check_counts', lambda *_: os.stat('/gone'))
    with pytest.raises(FileNotFoundError, match='gone'):
        tool(*small_args(small))


@pytest.mark.parametrize('args', [
    [], ['kinetics'], ['hmdb51'], ['demo'], ['hmdb51', '--num-workers', '-1'],
    ['ucf101', '--flow', 'raft'], ['reid-demo'], ['reid-demo', '--size', '64'],
    ['demo', '--out', 'x', '--clutter', '-1'], ['demo', '--out', 'x', '--seed', 'a'],
    ['demo', '--out', 'x', '--occlusion', 'nan'],
    ['demo', '--out', 'x', '--clutter', '1.5'],
    ['reid-demo', '--out', 'x', '--accessories=-1'],
    ['reid-demo', '--out', 'x', '--misalignment', 'much'],
    ['reid-demo', '--out', 'x', '--num-pids', '1'],
    ['crop', '--out', 'x'], ['crop', '--camid', '-1']])
def test_wrong_arguments(tool, args, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tool(*args) == 2
    error = capsys.readouterr().err
    assert 'error: ' in error
    assert len(args) < 4 or args[3].split('=')[0] in error
    assert not list(tmp_path.iterdir())


def test_demo(tool, tmp_path, capsys):
    for _ in range(2):
        assert tool(*['demo', '--out', str(tmp_path), '--num-videos-per-class',
                          '3', '--seed', '5', '--clutter', '1', '--occlusion',
                      '0.75']) == 0

    classes = (tmp_path / 'demo_classes.txt').read_text().splitlines()
    assert len(classes) >= 8
    lists = [(tmp_path / f'demo_{subset}_split_1_videos.txt').read_text().splitlines()
             for subset in ('train', 'val')]
    assert len(set(lists[0]) | set(lists[1])) == 3 * len(classes)
    assert not set(lists[0]) & set(lists[1])
    for line in lists[0]:
        path, label = line.rsplit(' ', 1)
        assert path.startswith(f'{classes[int(label)]}/')
        assert (tmp_path / 'videos' / path).is_file()
    assert '--split 1' in capsys.readouterr().out
    written = json.loads((tmp_path / 'demo.json').read_text())
    assert written['clutter'] == asdict(ClutterConfig(6, 8, 1.0, 0.8))
    assert written['occlusion'] == 0.75


def test_reid_demo(tool, tmp_path, capsys, repo):
    out = tmp_path / 'my people'
    settings = dict(clutter=1.0, occlusion=0.0, accessories=0.25, misalignment=0.75)
    difficulty = [word for key, value in settings.items()
                  for word in (f'--{key}', value)]
    for _ in range(2):
        assert tool('reid-demo', '--out', out, '--num-pids', 3, '--num-cameras', 2,
                    '--size', 48, 24, '--seed', 2, *difficulty) == 0
    written = json.loads((out / 'reid_demo.json').read_text())
    assert written['difficulty'] == settings

    assert os.listdir(out / 'bbox_train') == ['0001']
    assert {'0002', '0003'} < set(os.listdir(out / 'bbox_test'))
    image = cv2.imread(str(out / 'bbox_train' / '0001' / '0001C2T0001F001.jpg'))
    assert image.shape == (48, 24, 3)
    printed = capsys.readouterr().out
    assert f'{out}: 1 identities to train on, 2 to test on, 2 cameras\n' in printed
    assert printed.endswith(f"--data-root '{out}'\n")

    config = next(word for word in printed.split() if word.startswith('configs/'))
    assert (repo / config).is_file()

    assert tool('reid-demo', '--out', out) == 2
    assert 'other param' in capsys.readouterr().err


def test_tracklets_are_cut_out(tool, tmp_path, capsys):
    video, tracks, out = (tmp_path / name for name in ('a.avi', 'gt.txt', 'out'))
    write_video(video, 12)
    boxes = [f'{frame},{track},{x},4,20,40,1' for frame in range(1, 11)
             for track, x in ((1, 10), (2, 30 + 2 * frame))]
    tracks.write_text('\n'.join([*boxes, '13,1,0,0,9,40', '2,3,70,0,20,40']))
    args = ['crop', '--video', str(video), '--tracks', str(tracks), '--out', str(out),
            '--camid', '4', '--padding', '0.1', '--max-gap', '1', '--min-frames', '5',
            '--min-height', '40']

    assert tool(*args) == 0

    assert len(list(out.glob('*/4/0001/*.jpg'))) == 20
    printed = capsys.readouterr().out
    assert printed.startswith(
        'camera 4: 2 tracklets, 20 images\n'
        'boxes cut off at the edge of the frame: 4\n'
        'left out: 1 boxes outside the frame or empty, 0 lower than 40 pixels, 1 '
        'after the last frame, 0 tracklets of fewer than 5 images\n')
    assert f'tracklets --images {out} --out {out}_model' in printed  # one to train with
    assert tool(*args) == 2
    assert 'camera 4' in capsys.readouterr().err


def test_boxes_of_others_are_left_out_with_their_reason(tool, tmp_path, capsys):
    write_video(tmp_path / 'a.avi', 6)
    (tmp_path / 'gt.txt').write_text(''.join(
        f'{frame},{track},4,4,20,40,{rest}\n' for frame in range(5) for track, rest in
        enumerate(('1,1,1', '0,3,1', '0,1,1', '1,1,.2'), start=1)))
    args = ['crop', '--video', str(tmp_path / 'a.avi'), '--tracks',
            str(tmp_path / 'gt.txt'), '--out', str(tmp_path / 'out')]

    assert tool(*args) == 2
    assert '--first-frame 0' in capsys.readouterr().err
    args += ['--first-frame', '0', '--min-visibility', '.5']
    assert tool(*args) == 0
    assert (
        'left out: 5 boxes, class 3 (car)\nleft out: 5 boxes, flag 0 (to be ignored)\n'
        'left out: 5 boxes, visibility below 0.5\n') in capsys.readouterr().out
    assert tool(*args, '--camid', '2') == 2
    assert '--same-ids' in capsys.readouterr().err
    assert tool(*args, '--camid', '2', '--same-ids', '--classes', 'car',
                '--min-confidence', '0') == 0
    assert tool(*args, '--camid', '2', '--id-prefix', 'b') == 0
    assert sorted(path.relative_to(tmp_path / 'out').as_posix() for path in
                  tmp_path.glob('out/*/*')) == ['0001/1', '0002/2', 'b0001/2']


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('gt.txt', 'x', "gt.txt, line 1: 'x'"), ('a.avi', 'x', 'a.avi'),
])
def test_wrong_input_of_crop_is_one_line(
        tool, tmp_path, capsys, name, content, message):
    write_video(tmp_path / 'a.avi', 6)
    (tmp_path / 'gt.txt').write_text('1,1,0,0,20,40\n')
    (tmp_path / name).write_text(content)

    assert tool(*['crop', '--video', str(tmp_path / 'a.avi'), '--tracks',
                      str(tmp_path / 'gt.txt'), '--out', str(tmp_path / 'out')]) == 2

    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('option', ['--videos', '--splits'])
def test_missing_folders_say_where_to_get_the_data(nest, small, option):
    args = small_args(small)
    args[args.index(option) + 1] = str(small / 'gone')

    done = nest.run('tools/prepare_data.py', *args, cwd=small)

    assert (done.returncode, done.stdout) == (2, '')
    (line,) = [line for line in done.stderr.splitlines() if 'error' in line]
    assert line.startswith(f'error: {option} {small / "gone"} ')
    assert 'https://serre-lab.clps.brown.edu/' in line
    assert 'Traceback' not in done.stderr
    assert not (small / 'out dir').exists()
