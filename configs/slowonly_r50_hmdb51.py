_base_ = [
    './_base_/models/slowonly_r50.py',
    './_base_/datasets/hmdb51_rgb_224_t8x8.py',
    './_base_/schedules/late_temporal.py',
    './_base_/default_runtime.py',
]
