"""People found again in a folder of tracklets.

    folders         folders that hold images: tracklets
    encoder         checkpoint -> model and test pipeline; tracklets -> features
    gallery_file    features of a folder, and what made them, in a file
    index           folder -> file; again: only what is new
    search          file and queries -> nearest tracklets
    faiss_search    the same by FAISS, for millions

``tools/search_gallery.py`` is the command line. FAISS is imported when it is used.
"""
from .encoder import DISTANCES, TrackletEncoder, load_encoder
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
    'TrackletEncoder',
    'TrackletFiles',
    'check_fit',
    'find_tracklets',
    'index_folder',
    'kept_faiss_index',
    'load_encoder',
    'nearest_by_faiss',
    'query_tracklet',
    'read_gallery',
    'search_gallery',
    'write_gallery',
]
