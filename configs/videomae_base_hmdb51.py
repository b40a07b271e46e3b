_base_ = [
    './_base_/models/videomae_base.py',
    './_base_/datasets/hmdb51_rgb_224_t16x2.py',
    './_base_/schedules/video_transformer.py',
    './_base_/default_runtime.py',
]
