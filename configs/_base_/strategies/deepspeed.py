"""DeepSpeed's ZeRO, stage 1: each process keeps a share of the optimiser's moments."""
runner_type = 'FlexibleRunner'
strategy = dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=1))
