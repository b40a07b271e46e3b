"""What every re-identification run has in common."""
default_scope = 'mmengine'
custom_imports = dict(imports=['cosam_mm'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='SafeCheckpointHook', interval=10, max_keep_ckpts=3,
        save_best='reid/mAP', rule='greater'),
    sampler_seed=dict(type='SeededSamplingHook'),
    sync_buffers=dict(type='SyncBuffersHook'))
custom_hooks = [
    dict(type='SplitLeakageHook', force=False), dict(type='MeanLossHook'),
    dict(type='ProgressBarHook'), dict(type='MaskVisualizationHook', num_samples=2),
    dict(type='NaNLossHook', on_bad_loss='stop', max_skipped=10),
    dict(type='UnreadableSamplesHook', max_share=0.05)]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds after which a process that waits for another gives up.
    dist_cfg=dict(backend='nccl', timeout=1800))

log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
vis_backends = [dict(type='FaultTolerantVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
