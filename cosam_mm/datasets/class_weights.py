"""Weights of classes in the loss: by name, or from how often a class is trained on.

    model = dict(cls_head=dict(loss_cls=dict(class_weight='auto')))
    model = dict(cls_head=dict(loss_cls=dict(class_weight={'fall': 5., 'walk': 0.5})))

Of 'auto', class k gets n / (K * n_k), where n samples are trained on, n_k of them of
class k, and K classes occur: scikit-learn's ``compute_class_weight('balanced')``, after
King and Zeng, *Logistic Regression in Rare Events Data*, 2001. Their mean over the
samples is 1. A class that does not occur, or has no name in a dict, gets 1.

The loss is the mean over a batch, weighted by the weights of its labels. Smoothed and
mixed labels count by the share that each class has in them.
"""
import copy
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, DefaultScope

from cosam_mm.utils.config import dicts_of
from cosam_mm.utils.messages import name_some

__all__ = ['class_weights', 'set_class_weights', 'without_class_weights']


def class_weights(wanted: Union[str, Mapping[str, float]], dataset: Any,
                  num_classes: int) -> list[float]:
    """The weight of each class.

    Args:
        wanted: 'auto', or weights by the names of classes.
        dataset: What is trained on, with all that repeats or joins it.
        num_classes: How many weights.

    Raises:
        ValueError: ``wanted`` is something else, names a class that there is not, or
            holds a weight that is not finite and positive.
    """
    if wanted == 'auto':
        counts = Counter(int(dataset.get_data_info(k)['label'])
                         for k in range(len(dataset)))
        if absent := [k for k in range(num_classes) if not counts[k]]:
            print_log(f'class_weight: nothing is trained on of classes '
                      f'{name_some(absent)}; their weight is 1.', 'current',
                      logging.WARNING)
        return [len(dataset) / (len(counts) * counts[k]) if counts[k] else 1.
                for k in range(num_classes)]
    if not isinstance(wanted, Mapping):
        raise ValueError("class_weight is 'auto', a dict of weights by class name, or "
                         f'a list of {num_classes} weights, got {wanted!r}.')
    names: Sequence[str] = dataset.metainfo.get('classes') or ()
    for name, weight in wanted.items():
        if name not in names:
            raise ValueError(
                f'class_weight: there is no class {name!r}; the file '
                f'<name>_classes.txt names {name_some(names) or "none"}.')
        if not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise ValueError(f'class_weight of {name} must be more than 0.')
    return [float(wanted.get(name, 1)) for name in names]


def _open_losses(model: dict) -> Iterator[tuple[dict, dict]]:
    """Heads whose losses have weights that are no list yet, and these losses."""
    for _, head in dicts_of(model, 'model'):
        loss = head.get('loss_cls')
        if isinstance(loss, Mapping) and isinstance(
                loss.get('class_weight'), (str, Mapping)):
            loss.setdefault('type', 'CrossEntropyLoss')  # the default of heads
            yield head, loss


def set_class_weights(cfg: Config) -> None:
    """Write the weights into a config that is to be trained with.

    So checkpoints and the config in the work dir hold the numbers.

    Raises:
        ValueError: See :func:`class_weights`; or a batch is one clip, whose weight
            the weighted mean divides out.
    """
    losses = list(_open_losses(cfg.get('model')))
    if not losses:
        return
    if cfg.train_dataloader.get('batch_size') == 1:
        raise ValueError('class_weight: in a batch of one clip the weighted mean '
                         'divides the weight out. Take --batch-size 2 or more.')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    for head, loss in losses:
        loss['class_weight'] = class_weights(
            loss['class_weight'], dataset, head['num_classes'])
        print_log('Weights of the classes: ' + ', '.join(
            f'{weight:.4g}' for weight in loss['class_weight']), 'current')


def without_class_weights(model: dict) -> dict:
    """A model's config without such weights, where no loss is computed."""
    model = copy.deepcopy(model)
    for _, loss in _open_losses(model):
        loss['class_weight'] = None
    return model
