"""UCF101, optical flow, 112 x 112."""
_base_ = ['./flow_112.py']
ucf101 = dict(data_root='data/ucf101', name='ucf101', num_classes=101)
train_dataloader = dict(dataset=ucf101)
val_dataloader = dict(dataset=ucf101)
test_dataloader = dict(dataset=ucf101)
