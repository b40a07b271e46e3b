"""As reid.py, with the smaller rate that recurrent aggregation needs."""
_base_ = ['./reid.py']
optim_wrapper = dict(optimizer=dict(lr=1e-4))
