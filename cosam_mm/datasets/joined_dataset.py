"""Several data sets as one, where mmengine's ``ConcatDataset`` wants equal metadata."""
from collections.abc import Sequence
from itertools import zip_longest
from typing import Union

from mmengine.dataset import BaseDataset, ConcatDataset

from cosam_mm import registry

__all__ = ['JoinedDataset']

# What says where a data set comes from and how large it is.
_MAY_DIFFER = ['classes', 'dataset', 'former_split', 'num_listed', 'num_pids',
               'num_tracklets', 'protocol', 'split', 'subset']


@registry.DATASETS.register_module()
class JoinedDataset(ConcatDataset):
    """Data sets one after the other: folders or splits of the same classes or persons.

    ``metainfo`` holds what all parts agree on, and names every data set and split.

    Args:
        datasets: The data sets or their configs, wrappers among them.
        lazy_init: Read the lists at the first use.

    Raises:
        ValueError: A label is the number of one class here and of another there.
    """

    def __init__(self, datasets: Sequence[Union[BaseDataset, dict]],
                 lazy_init: bool = False) -> None:
        super().__init__(datasets, lazy_init, list(_MAY_DIFFER))
        metas = [part.metainfo for part in self.datasets]
        named = [meta['classes'] for meta in metas if meta.get('classes')]
        for classes in named:
            for label, names in enumerate(zip_longest(named[0], classes)):
                if names[0] != names[1]:
                    raise ValueError(
                        f'Label {label} is {names[0]!r} in one of the joined data sets '
                        f'and {names[1]!r} in another: write their lists with one '
                        'numbering, and the same file of class names beside each.')
        self._metainfo = {key: value for key, value in metas[0].items()
                          if all(meta.get(key) == value for meta in metas)}
        for key in ('dataset', 'split'):
            names = dict.fromkeys(str(meta[key]) for meta in metas if meta.get(key))
            if key not in self._metainfo and names:
                self._metainfo[key] = ' + '.join(names)
        if named:
            self._metainfo['classes'] = named[0]
        if any('num_listed' in meta for meta in metas):
            self._metainfo['num_listed'] = sum(
                meta.get('num_listed', len(part))
                for meta, part in zip(metas, self.datasets))

    def get_cat_ids(self, idx: int) -> list[int]:
        """Label or person of a sample, for mmengine's ``ClassBalancedDataset``."""
        part, own = self._get_ori_dataset_idx(idx)
        return self.datasets[part].get_cat_ids(own)
