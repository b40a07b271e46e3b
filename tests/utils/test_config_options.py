"""Keys of ``--cfg-options``: those that nothing reads are named."""
import pytest
from mmengine.config import Config

from cosam_mm.utils.config_options import merge_options

HMDB51, MARS = 'resnext101_cosam_bert_hmdb51.py', 'reid/se_resnet50_cosam45_tp_mars.py'


@pytest.mark.parametrize(('name', 'key', 'meant'), [
    (HMDB51, 'max_epochs', 'train_cfg.max_epochs'),
    (HMDB51, 'lr', 'optim_wrapper.optimizer.lr'),
    (HMDB51, 'train_cfg.max_epoch', 'train_cfg.max_epochs'),
    (HMDB51, 'optim_wrapper.lr', 'optim_wrapper'),
    (HMDB51, 'model.cls_head.num_class', 'model.cls_head.num_classes'),
    (HMDB51, 'train_dataloader.batchsize', 'train_dataloader.batch_size'),
    (HMDB51, 'train_dataloader.dataset.dataroot', 'data_root'),
    (HMDB51, 'train_dataloader.dataset.pipeline.1.cliplen', 'clip_len'),
    (HMDB51, 'custom_hooks.4.onbadloss', 'custom_hooks.4.on_bad_loss'),
    (HMDB51, 'custom_hooks.40.on_bad_loss', 'list'),
    (HMDB51, 'default_hooks.logger.intervall', 'interval'),
    (HMDB51, 'randomness.sed', 'randomness.seed'),
    (HMDB51, 'hmdb51.data_root', 'hmdb51'),  # a variable of the config file
    (MARS, 'model.losses.triplet.margi', 'margin'),
    (MARS, 'model.backbone.plugins.0.cfg.epsilon', 'eps'),
    (MARS, 'test_evaluator.rerankk', 'test_evaluator.rerank')])
def test_key_that_nothing_reads(repo, name, key, meant):
    cfg = Config.fromfile(repo / 'configs' / name)
    before = cfg.to_dict()
    with pytest.raises(ValueError, match=f'{key}.*{meant}'):
        merge_options(cfg, {key: 1})
    assert cfg.to_dict() == before


@pytest.mark.parametrize(('name', 'key'), [
    (HMDB51, 'train_cfg.val_begin'), (HMDB51, 'optim_wrapper.optimizer.eps'),
    (HMDB51, 'model.backbone.init_cfg.checkpoint'), (HMDB51, 'model.test_cfg.any'),
    (HMDB51, 'model.cls_head.temporal.num_heads'), (HMDB51, 'load_from'),
    (HMDB51, 'train_dataloader.prefetch_factor'), (HMDB51, 'num_splits'),
    (HMDB51, 'train_dataloader.dataset.data_prefix.video'), (HMDB51, 'sync_bn'),
    (HMDB51, 'env_cfg.mp_cfg.mp_start_method'), (HMDB51, 'randomness.seed'),
    (HMDB51, 'default_hooks.checkpoint.out_dir'), (HMDB51, 'default_hooks.ema.type'),
    (HMDB51, 'strategy.model_wrapper.sharding_strategy'),
    (HMDB51, 'auto_scale_lr.base_batch_size'), (MARS, 'test_evaluator.rerank.k1'),
    (MARS, 'test_dataloader.dataset.query.query_in_gallery'),
    (MARS, 'model.backbone.plugins.0.cfg.any_size')])
def test_key_that_is_read(repo, name, key):
    cfg = Config.fromfile(repo / 'configs' / name)
    merge_options(cfg, {key: 1})
    assert cfg[key.split('.')[0]] is not None
