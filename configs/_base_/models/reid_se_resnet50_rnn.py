"""SE-ResNet50 and an LSTM over the frames (RNN)."""
_base_ = ['./reid_se_resnet50_tp.py']
model = dict(aggregation=dict(type='TemporalRNNAggregation', hidden_channels=512))
