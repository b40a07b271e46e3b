"""Turn videos or images, your own or a data set's, into what the configs read.

    python tools/prepare_data.py folder --videos DIR --out data/mine
    python tools/prepare_data.py tracklets --images DIR --out data/persons
    python tools/prepare_data.py hmdb51 --videos DIR --splits DIR --out data/hmdb51
    python tools/prepare_data.py demo --out data/demo
    python tools/prepare_data.py reid-demo --clutter 1 --occlusion 0 --out data/hard
    python tools/prepare_data.py crop --video FILE --tracks FILE --out DIR --camid 1

Exit status: 0 done; 1 videos are missing or unreadable and --allow-missing was not
given; 2 the input is wrong. It can be run again: what is finished stays.
"""
import argparse
import errno
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Optional

from cosam_mm.datasets import preparation
from cosam_mm.datasets.preparation.own_data import prepare_videos
from cosam_mm.datasets.preparation.own_tracklets import prepare_tracklets
from cosam_mm.utils.cli import (
    CommandParser,
    as_typed,
    at_least_two,
    non_negative_int,
    one_line_errors,
    positive_float,
    share,
    shipped,
)
from cosam_mm.utils.messages import name_some

# What a disk refuses, whoever wrote the program: no space, no permission, read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
SOURCES = {
    'hmdb51': 'https://serre-lab.clps.brown.edu/resource/'
              'hmdb-a-large-human-motion-database/',
    'ucf101': 'https://www.crcv.ucf.edu/data/UCF101.php',
}


def add_official_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of a data set that the user has on disk."""
    add_path(parser, '--videos', 'folder that holds a folder of videos per class')
    add_path(parser, '--splits', 'folder of the official split files '
               '(testTrainMulti_7030_splits of HMDB51, ucfTrainTestlist of UCF101)')
    add_path(parser, '--out', 'where annotation files, the link to the videos and '
               'frames go: the --data-root of tools/train.py')
    parser.add_argument('--allow-missing', action='store_true', help='go on without '
                        'videos that are missing or unreadable; scores then compare '
                        'with nothing published')
    parser.add_argument('--frames', action='store_true',
                        help='extract RGB frames to OUT/rawframes, with lists')
    parser.add_argument(
        '--flow', choices=tuple(preparation.FLOW_ESTIMATORS),
        help='extract optical flow as well (implies --frames); tvl1 is what '
        'two-stream networks use and takes about a second a frame and core, '
        'farneback a fiftieth of it')
    parser.add_argument(
        '--short-side', type=non_negative_int, metavar='PIXELS',
        default=preparation.DEFAULT_SHORT_SIDE,
        help='shrink frames whose short side is longer to this, never enlarge; 0 '
        'keeps every size (default: %(default)s, which the crops, 224 at most, fit '
        'into; the official videos of both data sets are 240 high and stay so)')
    add_workers(parser, 'extract frames')


def run_official(args: argparse.Namespace) -> int:
    """Prepares HMDB51 or UCF101."""
    for option, folder in (('--videos', args.videos), ('--splits', args.splits)):
        if not folder.is_dir():
            raise FileNotFoundError(f'{option} {folder} is not a folder; videos and '
                                    f'split files: {SOURCES[args.dataset]}')
    lists = preparation.PARSERS[args.dataset](args.splits)
    preparation.check_counts(lists, preparation.OFFICIAL_COUNTS[args.dataset])
    found = annotate(lists, args.videos, args.out, args.allow_missing)
    if found is None:
        return 1
    if (args.frames or args.flow) and not annotate_frames(lists, found, args):
        return 1
    for model in ('cosam_bert_{}', *['bert_{}_flow'] * bool(args.flow)):
        config = f'configs/resnext101_{model}.py'.format(lists.name)
        print_commands(('train', config, '--data-root', args.out, '--split', 1))
    return 0


def annotate(
    lists: preparation.SplitLists, videos_dir: Path, out_dir: Path, allow_missing: bool
) -> Optional[dict[preparation.ListedClip, str]]:
    """Writes the lists of videos; returns what was found, or None at a gap."""
    located = preparation.locate_clips(lists, preparation.index_videos(videos_dir))
    if not located.found:
        raise FileNotFoundError(f'no listed video lies in {videos_dir}: expected '
                                f'{videos_dir / lists.classes[0]}/<clip>.avi and so on')
    out_dir.mkdir(parents=True, exist_ok=True)
    print(f'{lists.name}: {len(lists.classes)} classes, {len(located.found)} of '
          f'{len(located.found) + len(located.missing)} listed videos found, '
          f'{located.num_unlisted} videos in no list')
    per_class = Counter(clip.label for clip in located.missing)
    listed = Counter(clip.label for clip in lists.used_clips())
    details = ['videos are missing:', *(
        f'  {lists.classes[label]}: {per_class[label]} of {listed[label]}'
        for label in sorted(per_class))]
    if not report_gaps(out_dir / 'missing_videos.txt',
                       [clip.path for clip in located.missing], '\n'.join(details),
                       allow_missing, 'videos are missing, no annotation was written; '
                       'get them'):
        return None
    preparation.link_videos(videos_dir, out_dir)
    preparation.write_classes(out_dir, lists)
    write_lists(lists, out_dir, 'videos', located.found)
    return located.found


def annotate_frames(lists: preparation.SplitLists,
                    found: dict[preparation.ListedClip, str],
                    args: argparse.Namespace) -> bool:
    """Extracts frames and writes their lists; returns whether that succeeded."""
    result = preparation.extract_frames(
        found.values(), args.out / 'videos', args.out / 'rawframes',
        preparation.FrameSettings(args.short_side, args.flow), args.num_workers)
    print(f'frames of {len(result.num_frames)} videos in {args.out / "rawframes"}, '
          f'{result.num_skipped} of them from before')
    if not report_gaps(args.out / 'unreadable_videos.txt',
                       [f'{video}\t{why}' for video, why in result.unreadable.items()],
                       'videos cannot be read:', args.allow_missing,
                       'videos cannot be read, no list of frames was written; get '
                       'them again'):
        return False
    write_lists(lists, args.out, 'rawframes', found, result.num_frames)
    return True


def report_gaps(path: Path, names: list[str], details: str, is_allowed: bool,
                error: str) -> bool:
    """Writes and prints the names of videos that lack; returns whether to go on."""
    if not names:
        path.unlink(missing_ok=True)  # of an earlier run
        return True
    preparation.write_lines(path, names)
    print(f'{len(names)} {details}\nthe first {min(len(names), 20)} (all '
          f'{len(names)}: {path}):\n  ' + name_some(names, 20, '\n  '))
    if not is_allowed:
        print(f'error: {error}, or pass --allow-missing to go on without',
              file=sys.stderr)
    return is_allowed


def write_lists(lists: preparation.SplitLists, out_dir: Path, kind: str, *found):
    """Writes all lists, and prints found/official of each."""
    for (split, subset), count in preparation.write_lists(
            out_dir, lists, *found).items():
        print(f'{kind} split {split} {subset}: '
              f'{count}/{len(lists.clips[split, subset])}')


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of videos of one's own."""
    add_path(parser, '--videos', 'folder that holds a folder of videos per class; they '
             'stay where they are')
    add_path(parser, '--out', 'where lists, the link to the videos and config.py go')
    parser.add_argument(
        '--list', type=Path, metavar='FILE', help='CSV or text, lines of a file below '
        '--videos and its class (default: its first folder is the class)')
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument(
        '--val-share', type=share, default=0.2, metavar='SHARE',
        help='share of the clips to validate with (default: %(default)s)')
    sides.add_argument('--val-list', type=Path, metavar='FILE',
                       help='names of the clips to validate with, one a line')
    parser.add_argument(
        '--group-by', metavar='REGEX',
        help='what its one group matches in a file name below --videos names the '
        'recording; clips of one recording are on one side (default: told by folders '
        'below the class or by names as UCF101, HMDB51, a_part3, a_0003)')
    parser.add_argument(
        '--time-limit', type=positive_float, default=60, metavar='SECONDS',
        help='give a video up when no data came for so long (default: 60)')
    add_base_and_workers(parser, 'resnext14_cosam_bert_own')


def add_tracklets_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of crops of persons."""
    add_path(parser, '--images', 'folder of <pid>/<camera>/<tracklet>/*.jpg, or in '
             'another layout of TrackletFolder; it stays where it is')
    add_path(parser, '--out', 'where config.py goes')
    add_base_and_workers(parser, 'reid/resnet14_cosam45_tp_demo')


def add_base_and_workers(parser: argparse.ArgumentParser, base: str) -> None:
    """Which config to inherit, and how many processes check the files."""
    parser.add_argument(
        '--base', default=base, metavar='CONFIG',
        help='config to inherit, by path or shipped name (default: %(default)s, small '
        'enough to learn from scratch on a CPU)')
    add_workers(parser, 'check files')


def add_workers(parser: argparse.ArgumentParser, what: str) -> None:
    """How many processes do something."""
    parser.add_argument(
        '--num-workers', type=non_negative_int, metavar='N',
        default=preparation.default_num_workers(),
        help=f'processes that {what}; 0 works in this one (default: four, or as many '
        'as there are CPUs; here %(default)s)')


def run_folder(args: argparse.Namespace) -> int:
    """Prepares videos of one's own."""
    found = prepare_videos(
        args.videos, args.out, args.list, args.val_list, args.val_share, args.group_by,
        args.base, args.num_workers, args.time_limit)
    print('\n'.join(found.lines))
    print_commands(('train', found.config), ('demo', found.config, found.example))
    return 0


def prepare_persons(images: Path, out: Path, *settings) -> int:
    """Writes a config for tracklets, and prints what they are and what to run."""
    found = prepare_tracklets(images, out, *settings)
    print('\n'.join(found.lines))
    train, test = ('train', found.config), ('test', found.config)
    gallery = out / 'gallery.npz'
    print_commands(
        *((train, test) if found.can_validate else [(*train, '--no-validate')]),
        ('search_gallery', 'index', found.config, images, '--out', gallery),
        ('search_gallery', 'search', gallery, found.example, '--checkpoint',
         found.config))
    return 0


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the synthetic action data set."""
    add_path(parser, '--out', 'where annotation files and videos go: the '
               '--data-root of tools/train.py')
    parser.add_argument('--num-videos-per-class', type=int, default=60, metavar='N',
                        help='clips to generate for each class (default: 60)')
    add_seed_and_difficulty(
        parser,
        clutter=(0.5, 'how much there is around the target: small objects in motion, '
                 'shapes behind, texture and drift of the background'),
        occlusion=(0.0, 'share of the clips in which something opaque passes before '
                   'the target'))


def run_demo(args: argparse.Namespace) -> int:
    """Generates the demo data set and prepares it as if it had been downloaded."""
    from cosam_mm.datasets.synthetic.action_dataset_files import (
        generate_action_dataset,
    )
    from cosam_mm.datasets.synthetic.motion_clip import ClutterConfig
    generate_action_dataset(
        args.out, args.num_videos_per_class, args.seed,
        clutter=ClutterConfig.scaled(args.clutter), occlusion=args.occlusion)
    lists = preparation.parse_hmdb51_splits(args.out / 'splits', name='demo')
    if annotate(lists, args.out / 'videos', args.out, allow_missing=False) is None:
        return 1
    print_commands(('train', 'configs/resnext14_cosam_bert_demo.py', '--data-root',
                    args.out, '--split', 1))
    return 0


def add_reid_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the synthetic re-ID data set."""
    add_path(parser, '--out', 'where bbox_train, bbox_test and info go: the '
               '--data-root of tools/train.py')
    parser.add_argument('--num-pids', type=at_least_two, default=120, metavar='N',
                        help='identities, half of them to train on (default: 120)')
    parser.add_argument('--num-cameras', type=int, default=3, metavar='N',
                        help='cameras, 2 to 9 (default: 3)')
    parser.add_argument('--size', type=int, nargs=2, default=(64, 32),
                        metavar=('H', 'W'), help='of the images (default: 64 32)')
    add_seed_and_difficulty(
        parser,
        clutter=(0.6, 'things and textures in the background, and others who walk '
                 'there'),
        occlusion=(0.35, 'chance that something stands or passes before the person'),
        accessories=(0.5, 'how much people carry: bags, hats, umbrellas'),
        misalignment=(0.5, 'how badly the boxes sit, and how much they jitter'))


def run_reid_demo(args: argparse.Namespace) -> int:
    """Generates walking persons in MARS's layout."""
    from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset
    from cosam_mm.datasets.synthetic.walking_tracklet import Difficulty
    num_train = args.num_pids // 2
    num_test = args.num_pids - num_train
    generate_reid_dataset(args.out, num_train, num_test, args.num_cameras, args.seed,
                          tuple(args.size), difficulty=Difficulty(
                              args.clutter, args.occlusion, args.accessories,
                              args.misalignment))
    print(f'{args.out}: {num_train} identities to train on, {num_test} to test on, '
          f'{args.num_cameras} cameras')
    print_commands(('train', 'configs/reid/resnet14_cosam45_tp_demo.py', '--data-root',
                    args.out))
    return 0


def add_seed_and_difficulty(parser: argparse.ArgumentParser, **shares) -> None:
    """Arguments that both synthetic data sets have; name -> (default, what it is)."""
    parser.add_argument(
        '--seed', type=int, default=0, metavar='S',
        help='the same seed generates the same data set (default: %(default)s)')
    group = parser.add_argument_group(
        'difficulty', 'each from 0, none of it, to 1; other values generate another '
        'data set, into a folder of its own')
    for name, (default, what) in shares.items():
        group.add_argument(f'--{name}', type=share, default=default, metavar='SHARE',
                           help=f'{what} (default: %(default)s)')


def add_crop_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the cropping of tracklets."""
    add_path(parser, '--video', 'what a camera saw: a video, a folder of images, or a '
             'folder with a seqinfo.ini of the MOT challenge', metavar='FILE')
    add_path(parser, '--tracks', 'what a tracker found in it: lines '
             'frame,id,x,y,w,h[,confidence[,class[,visibility]]], also between spaces '
             'or tabs. The ids become the pids', metavar='FILE')
    add_path(parser, '--out', 'where <pid>/<camid>/<tracklet>/*.jpg goes, the layout '
               'of TrackletFolder')
    parser.add_argument(
        '--camid', type=non_negative_int, default=1, metavar='K',
        help='number of the camera (default: %(default)s); run again with the video, '
        'the tracks and the number of the next one')
    which = parser.add_argument_group('ids of a second camera or video in OUT').\
        add_mutually_exclusive_group()
    which.add_argument(
        '--id-prefix', default='', metavar='TEXT',
        help='stands before the ids of this video: they are persons of their own')
    which.add_argument(
        '--same-ids', action='store_true',
        help='ids that OUT has from another camera are the same persons')
    boxes = parser.add_argument_group('boxes that are persons')
    boxes.add_argument(
        '--classes', nargs='+', metavar='CLASS',
        help='numbers or names (default: pedestrians of the MOT challenge, persons of '
        "COCO or of the labels.txt beside the tracks; a file that leaves it open is "
        'refused)')
    boxes.add_argument(
        '--min-confidence', type=float, metavar='C',
        help='least confidence; 0 keeps what a flag marks as to be ignored, too')
    boxes.add_argument(
        '--min-visibility', type=float, metavar='SHARE',
        help='least share of a person that is visible (default: any above 0)')
    boxes.add_argument(
        '--first-frame', type=non_negative_int, default=1, metavar='N',
        help='number of the first frame of the video in the tracks (default: 1)')
    for option, default, metavar, what in (
            ('--padding', 0.0, 'SHARE', 'add this share of a box on each side'),
            ('--min-height', 32, 'PIXELS', 'leave out boxes lower than this'),
            ('--max-gap', 10, 'FRAMES', 'part tracks that are lost for longer'),
            ('--min-frames', 4, 'N', 'leave out tracklets of fewer images')):
        parser.add_argument(option, type=type(default), default=default,
                            metavar=metavar, help=f'{what} (default: %(default)s)')


def run_crop(args: argparse.Namespace) -> int:
    """Cuts tracklets out of a video."""
    from cosam_mm.datasets.preparation.track_files import BoxChoice
    from cosam_mm.datasets.preparation.tracklet_cropping import (
        CropSettings,
        crop_tracklets,
    )
    from cosam_mm.datasets.video_reader import UnreadableVideo
    settings = CropSettings(args.camid, args.padding, args.min_height, args.max_gap,
                            args.min_frames, args.id_prefix, args.same_ids)
    choice = BoxChoice(args.classes, args.min_confidence, args.min_visibility,
                       args.first_frame)
    try:
        report = crop_tracklets(args.video, args.tracks, args.out, settings, choice)
    except UnreadableVideo as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print('\n'.join(report.lines(settings)))
    model = args.out.with_name(f'{args.out.name}_model')
    try:
        return prepare_persons(args.out, model)
    except ValueError as error:  # as of one person, before the next camera
        print(f'no config yet: {error}. When all is cut out:')
    print_commands(('prepare_data', 'tracklets', '--images', args.out, '--out', model))
    return 0


# Name -> what it is, its arguments, what it does.
SUBCOMMANDS = {
    'folder': ('videos of your own, a folder per class or a list', add_folder_arguments,
               run_folder),
    'tracklets': ('crops of persons of your own', add_tracklets_arguments,
                  lambda args: prepare_persons(args.images, args.out, args.base,
                                               args.num_workers)),
    'hmdb51': ('HMDB51, 51 classes, 6,766 clips', add_official_arguments, run_official),
    'ucf101': ('UCF101, 101 classes, 13,320 clips', add_official_arguments,
               run_official),
    'demo': ('generate a small action data set, nothing to download',
             add_demo_arguments, run_demo),
    'reid-demo': ('generate walking persons in the layout of MARS, nothing to download',
                  add_reid_demo_arguments, run_reid_demo),
    'crop': ('cut tracklets out of a video by the boxes of a tracker',
             add_crop_arguments, run_crop),
}


def add_path(parser: argparse.ArgumentParser, option: str, what: str,
               metavar: str = 'DIR') -> None:
    """An option that must be given and names a folder or file."""
    parser.add_argument(option, type=Path, required=True, metavar=metavar, help=what)


def print_commands(*commands: tuple) -> None:
    """Prints what to run now, one after the other."""
    tools = shipped('tools')
    if Path.cwd() in tools.parents:
        tools = tools.relative_to(Path.cwd())
    for tool, *arguments in commands:
        print(as_typed('next: ' + shlex.join(map(str, (
            'python', tools / f'{tool}.py', *arguments)))))


def make_parser() -> argparse.ArgumentParser:
    """Builds the command line from `SUBCOMMANDS`."""
    parser = CommandParser(description=__doc__)
    subparsers = parser.add_subparsers(dest='dataset', required=True, metavar='DATASET')
    for name, (what, add_arguments, run) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=what, description=what)
        add_arguments(subparser)
        subparser.set_defaults(run=run)
    return parser


def main(argv: Optional[list[str]] = None) -> int:
    """Runs one subcommand; a user's mistake is one line and status 2."""
    args = make_parser().parse_args(argv)
    try:
        with one_line_errors():
            return args.run(args)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('interrupted: run the same command again', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
