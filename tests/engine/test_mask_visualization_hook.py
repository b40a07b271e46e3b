"""Panels of masks during validation; the training is the same with and without."""
import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, VISBACKENDS
from mmengine.structures import BaseDataElement
from mmengine.visualization import BaseVisBackend

from cosam_mm.apis.model_loading import untrained_model
from cosam_mm.engine.hooks import MaskVisualizationHook
from cosam_mm.layers.mask_recording import record_masks
from cosam_mm.visualization.mask_overlay import mask_grid
from cosam_mm.visualization.mask_recorder import batch_clip
from tests.small_runs import Do, loader_of, small_runner

pytestmark = pytest.mark.usefixtures('clean_up_runs')

COSAM = dict(type='COSAM', num_frames=4, spatial_size=(4, 2))


def tracklets(is_test=False):
    """12 tracklets of 3 persons, every fourth one of two clips in a test."""
    rng = np.random.default_rng(1 if is_test else 0)
    counts = [1 + (is_test and number % 4 == 1) for number in range(12)]
    return [dict(inputs=torch.from_numpy(rng.integers(
                0, 256, (count, 3, 4, 64, 32), dtype=np.uint8)),
                 data_samples=BaseDataElement(metainfo=dict(
                     label=number % 3, tracklet_id=f't{number}')))
            for number, count in enumerate(counts)]


@METRICS.register_module()
class _SumOfFeatures(BaseMetric):
    """A metric that any change of a feature changes."""

    def process(self, data_batch, data_samples):
        self.results += [sample['feature'].double().sum().item()
                         for sample in data_samples]

    def compute_metrics(self, results):
        return dict(sum=sum(results))


@VISBACKENDS.register_module()
class _Kept(BaseVisBackend):
    """Keeps what it is given."""

    @property
    def experiment(self):
        return self

    def _init_env(self):
        pass

    def add_image(self, name, image, step=0, **kwargs):
        self.__dict__.setdefault('images', []).append((name, step, image))


def model_config(plugins=True):
    cosams = [dict(cfg=COSAM, position=f'after_layer{k}') for k in (3, 4)]
    return dict(
        type='VideoReID',
        backbone=dict(type='FrameResNet', depth=14, base_channels=8, last_stride=1,
                      plugins=cosams if plugins else []),
        aggregation=dict(type='TemporalPoolAggregation'),
        head=dict(type='IdentityHead', num_pids=3),
        losses=dict(id=dict(type='IdentityLoss')))


def train(work_dir, hooks, epochs=2, model=None, val_batch=4, by_epoch=True):
    runner = small_runner(
        work_dir, model or model_config(), loader_of(tracklets(), 3, shuffle=True),
        epochs, hooks, val_dataloader=loader_of(tracklets(is_test=True), val_batch),
        val_cfg=dict(), val_evaluator=dict(type='_SumOfFeatures'),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=-1)),
        randomness=dict(seed=3), log_processor=dict(by_epoch=by_epoch),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='_Kept')]))
    runner.train()
    return runner


def images(runner):
    return vars(runner.visualizer.get_backend('_Kept')).get('images', [])


HOOK = dict(type='MaskVisualizationHook')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp('with'), [HOOK])


def test_training_is_the_same_to_the_bit(run, tmp_path):
    without = train(tmp_path, [])
    theirs = without.model.state_dict()
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    for name in ('val/sum', 'train/loss'):
        assert run.message_hub.get_scalar(name).data[0].tolist() == \
            without.message_hub.get_scalar(name).data[0].tolist()
    assert not images(without)


def test_the_same_samples_at_each_validation(run):
    assert [(name, step) for name, step, _ in images(run)] == [
        ('masks_0', 1), ('masks_1', 1), ('masks_0', 2), ('masks_1', 2)]
    first, again = images(run)[0][2], images(run)[2][2]
    assert first.shape == again.shape
    assert not np.array_equal(first, again)        # the weights have moved


def test_the_panel_is_that_of_the_sample(run):
    """The first samples of batches 0 and 1, made again after training."""
    data = tracklets(is_test=True)
    for number, batch in enumerate((data[:4], data[4:8])):
        batch = pseudo_collate(batch)
        run.model.eval()
        with record_masks(run.model) as record, torch.no_grad():
            run.model.test_step(batch)
        clip = batch_clip(run.model, batch, record.masks(), 0)
        assert clip.name == f't{4 * number}'
        np.testing.assert_array_equal(clip.frames[2],
                                      data[4 * number]['inputs'][0, :, 2]
                                      .permute(1, 2, 0))
        np.testing.assert_array_equal(images(run)[2 + number][2],
                                      mask_grid(clip, columns=6, side=96))


def test_weights_before_training_are_those_of_the_seed(tmp_path):
    """What --before shows is what a training with this seed began with."""
    seen = {}
    train(tmp_path, [Do('before_train', lambda runner: seen.update(
        copy.deepcopy(runner.model.state_dict())))], epochs=1)
    model = untrained_model(Config(dict(model=model_config(), default_scope=None)), 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[name]), name


def test_interval_and_number_of_samples(tmp_path):
    hook = dict(HOOK, num_samples=5, interval=2, columns=2)
    runner = train(tmp_path, [hook], epochs=3, val_batch=6, by_epoch=False)
    found = images(runner)
    # The first and the third of three validations; 4 steps an epoch.
    assert [step for _, step, _ in found] == [4] * 5 + [12] * 5
    assert len({image.tobytes() for _, _, image in found[:5]}) == 5


@pytest.mark.parametrize(('plugins', 'reason'), [
    (False, 'there is no COSAM in the model'), (True, 'makes a spatial mask')])
def test_a_model_without_spatial_masks_is_said_once(tmp_path, plugins, reason):
    model = model_config(plugins)
    for plugin in model['backbone']['plugins']:
        plugin['cfg'] = dict(plugin['cfg'], with_spatial=False)
    runner = train(tmp_path, [HOOK], model=model)
    assert not images(runner)
    assert next(tmp_path.rglob('*.log')).read_text().count(reason) == 1


def test_settings_out_of_range():
    with pytest.raises(ValueError, match='interval'):
        MaskVisualizationHook(interval=0)
