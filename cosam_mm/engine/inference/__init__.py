"""Trained models at work on a user's own videos and tracklets.

    loading            checkpoint, config, device -> model
    frames             what a user hands over as a video -> frames
    action_pipeline    the test pipeline of a config, entered with frames
    recognizer         ActionRecognizer: video -> class names; needs MMAction2
    tracklet_encoder   TrackletEncoder: tracklet -> feature

The two classes are imported from ``cosam_mm``. This file imports nothing, so that
either works without the packages of the other.
"""
