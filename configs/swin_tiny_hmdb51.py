_base_ = [
    './_base_/models/swin_tiny.py',
    './_base_/datasets/hmdb51_rgb_224_t32x2.py',
    './_base_/schedules/video_transformer.py',
    './_base_/default_runtime.py',
]
