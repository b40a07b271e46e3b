"""Models of frames around a backbone with COSAM, and data for a step of each."""
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement

FRAMES, SIZE = 4, 64


def plugged(backbone, after, out_index=None, **keys):
    return dict(type='PluggedBackbone', backbone=backbone, out_index=out_index,
                input_shape=(FRAMES, 3, SIZE, SIZE),
                plugins=[dict(cfg=dict(type='COSAM'), after=after, **keys)])


def recogniser(backbone, channels):
    """MMAction2's model for frames."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        return MODELS.build(dict(
            type='Recognizer2D', backbone=backbone,
            cls_head=dict(type='TSNHead', num_classes=2, in_channels=channels,
                          consensus=dict(type='AvgConsensus', dim=1),
                          average_clips='prob'),
            data_preprocessor=dict(type='ActionDataPreprocessor', mean=[127.5] * 3,
                                   std=[60.0] * 3, format_shape='NCHW')))


def clips():
    """Two for a recogniser."""
    from mmaction.structures import ActionDataSample
    return dict(inputs=list(torch.randint(256, (2, FRAMES, 3, SIZE, SIZE))),
                data_samples=[ActionDataSample().set_gt_label(k) for k in range(2)])


def reid_model(backbone, channels):
    return MODELS.build(dict(
        type='VideoReID', backbone=backbone,
        aggregation=dict(type='TemporalPoolAggregation', in_channels=channels),
        head=dict(type='IdentityHead', num_pids=3)))


def tracklets():
    """Two of each of three persons."""
    inputs = torch.randint(256, (6, 1, 3, FRAMES, SIZE, SIZE), dtype=torch.uint8)
    return dict(inputs=list(inputs),
                data_samples=[BaseDataElement(label=k // 2) for k in range(6)])


def assert_moves(model, train, part=''):
    """Every parameter with ``part`` in its name, by ``train``."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train()
    still = {name for name, p in model.named_parameters()
             if torch.equal(p, before[name]) and part in name}
    # Batch norms follow these and take any constant away.
    assert all(name.endswith(('reduction.0.bias', 'summary.0.bias'))
               for name in still), still


def assert_step_moves(model, data, part=''):
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='Adam', lr=1e-3)))

    def step():
        losses = model.train().train_step(data, wrapper)
        assert torch.isfinite(losses['loss'])

    assert_moves(model, step, part)


def assert_lacks_plugins_only(net, bare):
    """Of the weights of the bare backbone, which it takes; what nothing of it has."""
    order = [name for name in net.state_dict() if not name.startswith('plugins.')]
    assert order == [name for name in bare if name in order]
    missing, unexpected = net.load_state_dict(bare, strict=False)
    assert missing
    assert all(key.startswith('plugins.') for key in missing)
    assert all(torch.equal(net.state_dict()[key], bare[key]) for key in order)
    return unexpected
