"""Small 3-D ResNeXt + BERT for generated clips, modern recipe."""
_base_ = [
    './_base_/models/resnext14_bert_strong.py',
    './_base_/datasets/demo_rgb_64_strong.py',
    './_base_/schedules/demo_strong.py',
    './_base_/demo_strong_runtime.py',
]
