"""HMDB51, optical flow, 112 x 112."""
_base_ = ['./flow_112.py']
hmdb51 = dict(data_root='data/hmdb51', name='hmdb51', num_classes=51)
train_dataloader = dict(dataset=hmdb51)
val_dataloader = dict(dataset=hmdb51)
test_dataloader = dict(dataset=hmdb51)
