_base_ = [
    '../_base_/models/reid_se_resnet50_ta.py',
    '../_base_/datasets/reid_dukemtmc.py',
    '../_base_/schedules/reid.py',
    '../_base_/reid_runtime.py',
]
model = dict(head=dict(num_pids=702))
