"""What small trainings have in common."""
import logging
from itertools import count
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner

_NUMBERS = count()


def unique_name() -> str:
    """A name for a run, since mmengine keeps loggers and visualizers by name."""
    return f'small run {next(_NUMBERS)}'


def loader_of(dataset, batch_size=2, workers=0, sampler='DefaultSampler',
              shuffle=False) -> dict:
    """Config of a loader. Workers end with each epoch: garbage waits 5 s for each."""
    return dict(dataset=dataset, batch_size=batch_size, num_workers=workers,
                sampler=dict(type=sampler, shuffle=shuffle),
                collate_fn=dict(type='pseudo_collate'))


def small_runner(work_dir, model, loader, epochs=1, hooks=(), **options) -> Runner:
    """A runner of few epochs, in a scope and under a name of its own."""
    settings = dict(
        model=model, work_dir=str(work_dir), train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs), custom_hooks=list(hooks),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)), default_scope='mmengine',
        experiment_name=unique_name(), visualizer=dict(
            type='Visualizer', name=unique_name(),
            vis_backends=[dict(type='FaultTolerantVisBackend')]))
    return Runner(**{**settings, **options})


def log_of(runner, level) -> str:
    """Lines of a level in the log file of a run."""
    file, = (handler.baseFilename for handler in runner.logger.handlers
             if isinstance(handler, logging.FileHandler))
    return '\n'.join(line for line in Path(file).read_text().splitlines()
                     if f' {logging.getLevelName(level)} ' in line)


class Model(BaseModel):
    """loss = mean of w * x, so that dloss/dw is the mean of x."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.))

    def forward(self, inputs, data_samples, mode='tensor'):
        return dict(loss=(self.weight * torch.stack(inputs)).mean())


class Do(Hook):
    """Does something at a stage of a training."""

    def __init__(self, stage, action, priority='NORMAL'):
        self.priority = priority
        setattr(self, stage, lambda runner, **kwargs: action(runner))
