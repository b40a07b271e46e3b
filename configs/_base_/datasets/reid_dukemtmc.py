"""DukeMTMC-VideoReID, for those who hold it."""
_base_ = ['./reid_mars.py']
dukemtmc = dict(type='DukeMTMCVideoReID', data_root='data/dukemtmc')
train_dataloader = dict(dataset=dukemtmc)
val_dataloader = dict(dataset=dict(query=dukemtmc, gallery=dukemtmc))
test_dataloader = val_dataloader
