_base_ = [
    '../_base_/models/reid_se_resnet50_rnn.py',
    '../_base_/datasets/reid_mars.py',
    '../_base_/schedules/reid_rnn.py',
    '../_base_/reid_runtime.py',
]
model = dict(head=dict(num_pids=625))
