"""Small ResNet + mean over frames for generated persons."""
_base_ = [
    '../_base_/models/reid_resnet14_tp.py',
    '../_base_/datasets/reid_demo.py',
    '../_base_/schedules/reid_demo.py',
    '../_base_/reid_runtime.py',
]
