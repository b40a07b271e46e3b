"""PyTorch's FSDP: each process keeps a share of weights, gradients and moments.

Checkpoints hold the whole model under its own names, as those of one process do.
"""
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel', use_orig_params=True,
        sharding_strategy='FULL_SHARD'),
    # "full" would do, but it ends in a crash where there are no GPUs.
    state_dict_cfg=dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(type='FullStateDictConfig', rank0_only=True),
        optim_state_dict_config=dict(type='FullOptimStateDictConfig', rank0_only=True)))
