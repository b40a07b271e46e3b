"""Small 3-D ResNeXt + BERT for generated clips."""
_base_ = [
    './_base_/models/resnext14_bert.py',
    './_base_/datasets/demo_rgb_64.py',
    './_base_/schedules/demo.py',
    './_base_/demo_runtime.py',
]
