"""People found again in a folder of tracklets.

    folders         folders that hold images: tracklets
    gallery_file    features of a folder, and what made them, in a file
    index           folder -> file; again: only what is new
    search          file and queries -> nearest tracklets
    faiss_search    the same by FAISS, for millions

Features are made by :class:`cosam_mm.TrackletEncoder`.
``tools/search_gallery.py`` is the command line. FAISS is imported when it is used.
"""
from cosam_mm.apis.tracklet_encoder import DISTANCES

from .faiss_search import FLAT, KeptIndex, nearest_by_faiss
from .folders import TrackletFiles, find_tracklets, query_tracklet
from .gallery_file import Gallery, check_fit, read_gallery, write_gallery
from .index import IndexReport, index_folder
from .search import ENGINES, kept_faiss_index, search_gallery

__all__ = [
    'DISTANCES',
    'ENGINES',
    'FLAT',
    'Gallery',
    'IndexReport',
    'KeptIndex',
    'TrackletFiles',
    'check_fit',
    'find_tracklets',
    'index_folder',
    'kept_faiss_index',
    'nearest_by_faiss',
    'query_tracklet',
    'read_gallery',
    'search_gallery',
    'write_gallery',
]
