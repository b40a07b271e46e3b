"""What all inference begins with: a checkpoint and a device."""
import os

import pytest

from cosam_mm.apis.model_loading import find_checkpoint


def touch(path, age):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'')
    os.utime(path, (10 ** 9 - age, 10 ** 9 - age))


def test_the_newest_best_checkpoint_is_found(tmp_path):
    touch(tmp_path / 'split1' / 'iter_90.pth', age=0)
    assert find_checkpoint(tmp_path).name == 'iter_90.pth'
    touch(tmp_path / 'split1' / 'epoch_9.pth', age=9)
    touch(tmp_path / 'split1' / 'epoch_10.pth', age=8)
    assert find_checkpoint(tmp_path).name == 'epoch_10.pth'
    touch(tmp_path / 'split1' / 'best_acc_top1_epoch_3.pth', age=20)
    touch(tmp_path / 'split2' / 'best_acc_top1_epoch_2.pth', age=10)
    assert find_checkpoint(tmp_path) == (
        tmp_path / 'split2' / 'best_acc_top1_epoch_2.pth')


def test_no_checkpoint(tmp_path):
    for folder in (tmp_path, tmp_path / 'nothing'):
        with pytest.raises(FileNotFoundError, match='no checkpoint below .* --check'):
            find_checkpoint(folder)
