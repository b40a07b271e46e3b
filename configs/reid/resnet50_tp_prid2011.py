_base_ = [
    '../_base_/models/reid_resnet50_tp.py',
    '../_base_/datasets/reid_prid2011.py',
    '../_base_/schedules/reid.py',
    '../_base_/reid_runtime.py',
]
model = dict(head=dict(num_pids=89))
