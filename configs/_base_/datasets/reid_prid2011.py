"""PRID2011, the first of its ten splits; results are means over all ten."""
_base_ = ['./reid_mars.py']
num_splits = 10
prid2011 = dict(type='PRID2011', data_root='data/prid2011', split=1)
train_dataloader = dict(dataset=prid2011)
val_dataloader = dict(dataset=dict(query=prid2011, gallery=prid2011))
test_dataloader = val_dataloader
