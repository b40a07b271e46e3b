_base_ = [
    '../_base_/models/reid_resnet50_ibn_tp.py',
    '../_base_/datasets/reid_dukemtmc.py',
    '../_base_/schedules/reid_strong.py',
    '../_base_/reid_runtime.py',
]
train_dataloader = dict(dataset=dict(pipeline={{_base_.erasing_pipeline}}))
val_evaluator = test_evaluator = dict(distance='cosine')
model = dict(head=dict(num_pids=702))
