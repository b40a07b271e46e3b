"""The tracklets of a gallery that are nearest to queries."""
import hashlib
import os
from typing import Optional

import numpy as np

from cosam_mm.apis.tracklet_encoder import DISTANCES
from cosam_mm.evaluation.functional.neighbours import Neighbours, nearest
from cosam_mm.utils.progress import progress_bar

from .faiss_search import FLAT, KeptIndex, nearest_by_faiss
from .gallery_file import Gallery

__all__ = ['ENGINES', 'kept_faiss_index', 'search_gallery']

ENGINES = ('auto', 'exact', 'faiss')


def kept_faiss_index(path: str, gallery: Gallery, distance: str, factory: str
                     ) -> Optional[KeptIndex]:
    """Where the FAISS index of a gallery file is kept; None for a flat one."""
    if factory == FLAT:
        return None
    plain = ''.join(char if char.isalnum() else '_' for char in factory)
    content = f'{gallery.content_sha256} {distance} {factory}'
    return KeptIndex(f'{os.path.splitext(path)[0]}.{distance}.{plain}.faiss',
                     hashlib.sha256(content.encode()).hexdigest())


def search_gallery(gallery: Gallery, features: np.ndarray, topk: int = 10,
                   distance: Optional[str] = None, engine: str = 'auto',
                   faiss_factory: str = FLAT, faiss_parameters: str = '',
                   kept_index: Optional[KeptIndex] = None) -> Neighbours:
    """The tracklets of a gallery that are nearest to queries.

    Args:
        gallery: With all its tracklets.
        features: (Q, D) of the queries.
        topk: How many to return, at most the whole gallery.
        distance: 'euclidean' (not squared) or 'cosine'. Default: the gallery's.
        engine: 'exact' compares with all tracklets; 'faiss' lets FAISS choose; 'auto'
            is 'exact'.
        faiss_factory: FAISS's description of an index. All but the flat one may
            miss tracklets that are nearer.
        faiss_parameters: Of the search, as 'nprobe=16'.
        kept_index: See :func:`kept_faiss_index`.

    Returns:
        Arrays (Q, min(topk, G)); see :class:`Neighbours`.

    Raises:
        ValueError: An argument is not as described, the gallery is not finished, or
            FAISS is not installed or refuses its arguments.
    """
    distance = gallery.distance if distance is None else distance
    for name, value, allowed in (('distance', distance, DISTANCES),
                                 ('engine', engine, ENGINES)):
        if value not in allowed:
            raise ValueError(f'{name} must be one of {allowed}, got {value!r}.')
    if not isinstance(topk, (int, np.integer)) or topk < 1:
        raise ValueError(f'topk must be an integer of at least 1, got {topk!r}.')
    if gallery.num_waiting:
        raise ValueError(
            f'The gallery is not finished: {gallery.num_waiting} of '
            f'{len(gallery) + gallery.num_waiting} tracklets are still to be computed. '
            'Run the same tools/search_gallery.py index again, it goes on where it '
            'stopped.')
    if engine == 'faiss':
        return nearest_by_faiss(features, gallery.feature, topk, distance,
                                faiss_factory, faiss_parameters, kept_index)
    with progress_bar(what='searching', unit='query', total=len(features),
                      leave=False) as bar:
        return nearest(features, gallery.feature, topk, distance, bar.update)
