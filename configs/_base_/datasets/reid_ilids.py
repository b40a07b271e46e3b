"""iLIDS-VID, the first of its ten splits; results are means over all ten."""
_base_ = ['./reid_mars.py']
num_splits = 10
ilids = dict(type='ILIDSVID', data_root='data/ilids', split=1)
train_dataloader = dict(dataset=ilids)
val_dataloader = dict(dataset=dict(query=ilids, gallery=ilids))
test_dataloader = val_dataloader
