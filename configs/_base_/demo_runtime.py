"""default_runtime.py, with the layout of weights in which CPU cores are twice as fast."""
_base_ = ['./default_runtime.py']
custom_hooks = [*_base_.custom_hooks, dict(type='ChannelsLastHook')]
