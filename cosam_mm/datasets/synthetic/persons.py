"""Drawn people who walk through drawn cameras, for re-identification."""
from .camera import Camera, draw_camera
from .person import ATTRIBUTES, Person, draw_person
from .reid_files import draw_reid_dataset
from .reid_plan import (
    ReIDPlan,
    TrackletKey,
    dataset_camera,
    dataset_person,
    draw_listed_tracklet,
    plan_reid_dataset,
)
from .walking_tracklet import Difficulty, DrawnTracklet, draw_tracklet

__all__ = [
    'ATTRIBUTES', 'Camera', 'Difficulty', 'DrawnTracklet', 'Person', 'ReIDPlan',
    'TrackletKey', 'dataset_camera', 'dataset_person', 'draw_camera',
    'draw_listed_tracklet', 'draw_person', 'draw_reid_dataset', 'draw_tracklet',
    'plan_reid_dataset'
]
