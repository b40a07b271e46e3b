"""A small folder of tracklets in plain colours, and features of them."""
import cv2
import numpy as np
from mmengine.config import Config

# Folder -> colour (RGB) and feature. Query 1 ranks: its own camera (ignored), wrong,
# right. Query 2: right. Query 3 has nobody to find.
QUERY = {
    'query/1/1/a': ((250, 0, 0), (0., 0.)),
    'query/2/1/a': ((0, 250, 0), (9., 0.)),
    'query/3/1/a': ((0, 0, 250), (0., 9.)),
}
GALLERY = {
    'gallery/1/1/b': ((200, 0, 0), (1., 0.)),
    'gallery/1/2/a': ((150, 0, 0), (3., 0.)),
    'gallery/2/2/a': ((0, 150, 0), (9., 1.)),
    'gallery/4/1/a': ((150, 150, 0), (0., 2.)),
}
TRACKLETS = {**QUERY, **GALLERY}
SIZE = (64, 32)


def small_features(**changes):
    """Features of the tracklets, as a feature file holds them."""
    names = list(TRACKLETS)
    person, camera = zip(*(map(int, name.split('/')[1:3]) for name in names))
    return dict(dict(
        feature=np.array([feature for _, feature in TRACKLETS.values()], np.float32),
        pid=np.array(person), camid=np.array(camera),
        subset=np.array([name.split('/')[0] for name in names]),
        tracklet_id=np.array(names), dataset='small', protocol='all'), **changes)


def write_tracklets(root, num_frames=6):
    """Their images; frame k is darker by 10 k than the first. Gives the folder."""
    for name, (colour, _) in TRACKLETS.items():
        (root / name).mkdir(parents=True)
        for frame in range(num_frames):
            image = np.empty((*SIZE, 3), np.uint8)
            image[:] = np.maximum(np.array(colour) - 10 * frame, 0)
            cv2.imwrite(str(root / name / f'{frame}.png'), image[..., ::-1])
    return root


def small_config(root, **settings):
    """Config of a test on them."""
    part = dict(type='TrackletFolder', data_root=str(root), name='small',
                pipeline=[dict(type='NoSuchStep')])
    return Config(dict(
        dict(model=dict(type='VideoReID'), default_scope='mmengine',
             test_dataloader=dict(dataset=dict(
                 type='QueryGalleryDataset', query=part, gallery=dict(part))),
             test_evaluator=dict(type='ReIDMetric', distance='euclidean')),
        **settings))
