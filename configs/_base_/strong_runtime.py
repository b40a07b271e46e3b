"""default_runtime.py, and a moving average of weights that is tested and kept.

The average follows the weights closely at first, and over about a thousand batches in
the end: of step k it takes max(0.001, 10 / (10 + k)). Batch norms' statistics are
averaged with the weights that they belong to; in a training of several processes each
averages those of its own.
"""
_base_ = ['./default_runtime.py']
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=10,
         update_buffers=True)]
