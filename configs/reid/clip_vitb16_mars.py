_base_ = [
    '../_base_/models/reid_clip_vitb16_tp.py',
    '../_base_/datasets/reid_mars.py',
    '../_base_/schedules/reid_clip.py',
    '../_base_/reid_runtime.py',
]
model = dict(head=dict(num_pids=625))
