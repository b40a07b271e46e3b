"""Find a person again in a folder of tracklets.

    python tools/search_gallery.py index CHECKPOINT FOLDER --out gallery.npz
    python tools/search_gallery.py search gallery.npz QUERY \\
        --checkpoint CHECKPOINT
    python tools/search_gallery.py index --remove NAME ... --out gallery.npz

Every folder below FOLDER that directly holds images is one tracklet, named by its path
below FOLDER. Indexing again computes only what is new or has changed, and continues
where it was interrupted.
"""
import json
import math
import os
import sys
import time

import numpy as np

from cosam_mm import TrackletEncoder
from cosam_mm.apis.gallery import (
    ENGINES,
    FLAT,
    Gallery,
    index_folder,
    remove_tracklets,
)
from cosam_mm.apis.model_loading import find_trained
from cosam_mm.apis.tracklet_encoder import DISTANCES
from cosam_mm.apis.video_input import image_files
from cosam_mm.datasets.preparation import default_num_workers
from cosam_mm.utils.cli import (
    CommandParser,
    add_no_verify,
    non_negative_int,
    one_line_errors,
    positive_float,
    positive_int,
)
from cosam_mm.utils.io import check_destination, write_text, writing
from cosam_mm.utils.messages import name_some
from cosam_mm.utils.progress import progress_bar

NUM_NAMES_SHOWN = 20


def add_model_arguments(parser, num_workers):
    parser.add_argument(
        '--config', help='config file, for a checkpoint that holds none or whose parts '
        'are modules of yours (default: the config in the checkpoint, read as data)')
    parser.add_argument('--device',
                        help='where to compute (default: the GPU, if there is one)')
    add_no_verify(parser)
    parser.add_argument('--batch-size', type=positive_int, default=4, metavar='N',
                        help='tracklets at once, each with all its clips (default: 4)')
    parser.add_argument('--num-workers', type=non_negative_int, default=num_workers,
                        metavar='N', help='processes that read images; 0 reads them in '
                        'this one (default: %(default)s)')


def add_index_arguments(parser):
    parser.add_argument('checkpoint', nargs='?',
                        help='trained re-identification model, or config file, '
                        'whose newest best checkpoint is taken')
    parser.add_argument('folder', nargs='?', help='folder of folders of images')
    parser.add_argument('--out', required=True, metavar='GALLERY.npz',
                        help='gallery file to write, or to bring up to date')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--add', action='store_const', const='add', dest='mode',
                      help='keep tracklets of GALLERY.npz that are not in FOLDER')
    what.add_argument('--mirror', action='store_const', const='mirror', dest='mode',
                      help='remove them, however many (default: remove them if as '
                      'many others are in both, else stop)')
    what.add_argument('--remove', nargs='+', metavar='NAME',
                      help='take tracklets, or all in a folder, out of GALLERY.npz and '
                      'compute nothing; needs no checkpoint and folder')
    what.add_argument('--overwrite', action='store_true',
                      help='compute everything anew, whatever GALLERY.npz holds')
    add_model_arguments(parser, default_num_workers())
    parser.set_defaults(run=run_index)


def add_search_arguments(parser):
    parser.add_argument('gallery', metavar='GALLERY.npz', help='what index wrote')
    parser.add_argument('query', nargs='+', metavar='QUERY',
                        help='folder of images of one person, or one image')
    parser.add_argument('--checkpoint', required=True,
                        help='the model that the gallery was indexed with, or its '
                        'config file')
    parser.add_argument('--topk', type=positive_int, default=10,
                        help='tracklets to print for each query (default: 10)')
    parser.add_argument(
        '--engine', choices=ENGINES, default='auto',
        help='exact compares with every tracklet; faiss needs the package faiss-cpu; '
        'auto is exact (default: auto)')
    parser.add_argument(
        '--faiss-index', default=FLAT, metavar='FACTORY_STRING',
        help="FAISS's description of an index, as HNSW32 or IVF4096,Flat: faster in "
        'galleries of millions, but nearer tracklets may be missed. It is kept beside '
        'the gallery (default: Flat, which misses none)')
    parser.add_argument(
        '--faiss-parameters', default='', metavar='NAME=VALUE,...',
        help='of the search in such an index, as nprobe=16 or efSearch=128')
    parser.add_argument('--distance', choices=DISTANCES,
                        help='default: the one that the model was tested by')
    parser.add_argument(
        '--max-distance', type=positive_float, metavar='D',
        help='leave out what is farther from the query (default: nothing is)')
    parser.add_argument('--out', metavar='RESULTS.json', help='write the results')
    parser.add_argument('--panel', metavar='FILE.png',
                        help='draw each query beside what was found; needs --images')
    parser.add_argument('--images', metavar='FOLDER',
                        help='the folder that was indexed, where --panel finds images')
    add_model_arguments(parser, 0)
    parser.set_defaults(run=run_search)


def parse_args():
    parser = CommandParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, text, add_arguments in (
            ('index', 'compute the features of a folder of tracklets',
             add_index_arguments),
            ('search', 'rank the tracklets of a gallery for queries',
             add_search_arguments)):
        add_arguments(commands.add_parser(name, help=text, description=text))
    args = parser.parse_args()
    if args.command == 'search' and args.engine != 'faiss' and (
            args.faiss_index != FLAT or args.faiss_parameters):
        parser.error('--faiss-index and --faiss-parameters go with --engine faiss')
    if args.command == 'search' and bool(args.panel) != bool(args.images):
        parser.error('--panel FILE.png goes with --images FOLDER')
    if args.command == 'index' and not args.remove and args.folder is None:
        parser.error('index needs a checkpoint and a folder')
    return args


def make_encoder(args):
    checkpoint, config = find_trained(args.checkpoint)
    return TrackletEncoder(checkpoint, args.config or config, args.device)


def run_index(args):
    """Write the gallery and say what is in it."""
    if args.remove:
        num_left = remove_tracklets(args.out, args.remove)
        print(f'{args.out}: {num_left} tracklets are left')
        return
    report = index_folder(make_encoder(args), args.folder, args.out, args.batch_size,
                          args.num_workers, args.overwrite,
                          mode=args.mode or 'update')
    num_new = report.num_tracklets - report.num_kept
    print(f'{args.out}: {report.num_tracklets} tracklets, {num_new} of them computed '
          f'now, {report.num_kept} from before; {report.num_removed} '
          'removed')
    if report.skipped:
        names = name_some(report.skipped, NUM_NAMES_SHOWN, separator='\n  ')
        print(f'{len(report.skipped)} tracklets without a readable image are skipped:\n'
              f'  {names}')


def query_images(query):
    """Paths of the images of a query: a folder, or one image."""
    return [query] if os.path.isfile(query) else image_files(query)


def encode_queries(encoder, args):
    """Features (Q, D) of the queries.

    Raises:
        FileNotFoundError: One is missing.
        ValueError: One holds no image, or none that can be read.
    """
    queries = [query_images(query) for query in args.query]
    each = encoder.encode_each(queries, args.batch_size, args.num_workers)
    features = list(progress_bar(each, 'queries', 'tracklet', len(args.query)))
    for folder, feature in zip(args.query, features):
        if feature is None:
            raise ValueError(f'No image of the query {folder} can be read.')
    return np.stack(features)


def run_search(args):
    """Print, and write if asked, the nearest tracklets of each query."""
    for out in filter(None, (args.out, args.panel)):
        check_destination(out, overwrite=True)
    gallery = Gallery.read(args.gallery)
    encoder = make_encoder(args)
    gallery.check_fit(encoder, args.gallery)
    distance = args.distance or gallery.distance
    is_faiss = args.engine == 'faiss'
    start = time.perf_counter()
    features = encode_queries(encoder, args)
    middle = time.perf_counter()
    found = gallery.search(features, args.topk, distance, args.engine,
                           args.faiss_index, args.faiss_parameters, args.gallery)
    summary = dict(
        gallery=args.gallery, num_tracklets=len(gallery),
        num_unreadable=gallery.num_unreadable, distance=distance,
        engine='faiss' if is_faiss else 'exact',
        faiss_index=args.faiss_index if is_faiss else None,
        approximate=is_faiss and args.faiss_index != FLAT)
    results = [dict(query=query, matches=list_matches(gallery, *row, args.max_distance))
               for query, *row in zip(args.query, found.index, found.distance)]
    print_results(summary, results)
    print(f'{len(results)} queries: {middle - start:.2f} s to read and encode them, '
          f'{time.perf_counter() - middle:.2f} s to search')
    if args.panel:
        draw_panel(args, results)
    if args.out:
        content = json.dumps(dict(summary, results=results), indent=2)
        write_text(args.out, content + '\n')
        print(f'written to {args.out}')


def list_matches(gallery, index, distances, max_distance):
    """Ranked tracklets of one query, for people and JSON."""
    most = math.inf if max_distance is None else max_distance
    return [dict(rank=rank, tracklet_id=str(gallery.tracklet_id[number]),
                 distance=float(distance))
            for rank, (number, distance) in enumerate(zip(index, distances), start=1)
            if number >= 0 and distance <= most]


def draw_panel(args, results):
    """Write each query's middle frame beside those of what was found."""
    from cosam_mm.visualization.rank_panels import (
        UNRATED,
        PanelEntry,
        RankPanel,
        draw_rank_panels,
        read_frame,
    )
    from cosam_mm.visualization.style import encode_image
    absent = []

    def found(name):
        folder = os.path.join(args.images, name)
        if os.path.isdir(folder):
            return middle_frame(image_files(folder))
        return absent.append(name)

    def middle_frame(paths):
        return read_frame(paths, len(paths) // 2)

    panels = [RankPanel(
        '', result['query'], None, [middle_frame(query_images(result['query']))],
        [PanelEntry(match['tracklet_id'], None, found(match['tracklet_id']), UNRATED,
                    match['rank'], match['distance']) for match in result['matches']],
        math.nan, 0, 0) for result in results]
    if absent:
        print(f'{args.images} has no folder {name_some(absent)}: no image is shown',
              file=sys.stderr)
    with writing(args.panel) as partial:
        partial.write_bytes(encode_image(draw_rank_panels(panels, is_alone=False),
                                         'png'))
    print(f'written to {args.panel}')


def print_results(summary, results):
    how = 'exact search'
    if summary['engine'] == 'faiss':
        how = f'FAISS index {summary["faiss_index"]}'
    if summary['approximate']:
        how += ', approximate: nearer tracklets may be missing'
    unreadable = f', without {summary["num_unreadable"]} that could not be read' \
        if summary['num_unreadable'] else ''
    print(f'{summary["gallery"]}: {summary["num_tracklets"]} tracklets{unreadable}; '
          f'{how}')
    for result in results:
        print(f'query {result["query"]}')
        print(f'  rank  {summary["distance"]} distance  tracklet')
        width = len(summary['distance']) + len(' distance')
        if not result['matches']:
            print('  nobody is near enough')
        for match in result['matches']:
            print(f'  {match["rank"]:4d}  {match["distance"]:{width}.4f}  '
                  f'{match["tracklet_id"]}')


def main():
    # Names of files need not be text; they are printed as the bytes that they are.
    sys.stdout.reconfigure(errors='surrogateescape')
    args = parse_args()
    try:
        with one_line_errors():
            args.run(args)
    except KeyboardInterrupt:
        advice = ('; run again without --overwrite, it continues'
                  if args.command == 'index' else '')
        print(f'interrupted{advice}', file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    main()
