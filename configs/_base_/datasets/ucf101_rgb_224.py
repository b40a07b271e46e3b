"""UCF101, RGB, 224 x 224."""
_base_ = ['./rgb_224.py']
ucf101 = dict(data_root='data/ucf101', name='ucf101', num_classes=101)
train_dataloader = dict(dataset=ucf101)
val_dataloader = dict(dataset=ucf101)
test_dataloader = dict(dataset=ucf101)
