"""The code of docs/inference.md runs as it stands there, block after block."""
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.action_data import write_video
from tests.gallery_data import reid_config, write_checkpoint, write_tracklet

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / 'docs' / 'inference.md'


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """The files that the page names."""
    config = Config.fromfile(REPO / 'configs' / 'resnext14_cosam_bert_demo.py')
    with DefaultScope.overwrite_default_scope('mmaction'):
        state_dict = MODELS.build(config.model).state_dict()
    names = [f'motion {k}' for k in range(8)]
    torch.save(dict(state_dict=state_dict, meta=dict(
        cfg=config.pretty_text, dataset_meta=dict(classes=names))),
        tmp_path / 'action.pth')
    (tmp_path / 'config.py').write_text(config.pretty_text)
    (tmp_path / 'labels.txt').write_text('\n'.join(names) + '\n')
    write_checkpoint(tmp_path / 'reid.pth', reid_config())
    for number, name in enumerate(('7/c1', '7/c2', '9/c1')):
        write_tracklet(tmp_path / 'tracklets' / name, 3 + number, number // 2)
    write_video(tmp_path / 'walk.avi')
    (tmp_path / 'walk.avi').rename(tmp_path / 'walk.mp4')
    (tmp_path / 'frames').mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / 'frames' / f'{number}.jpg'),
                    np.full((80, 96, 3), 60 * number, np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings('ignore:Failed to add:UserWarning')
def test_every_block_runs(workplace, capsys):
    blocks = re.findall(r'^```python\n(.*?)^```$', PAGE.read_text('utf-8'), re.M | re.S)
    assert len(blocks) >= 7
    names = {}
    with DefaultScope.overwrite_default_scope('mmengine'):
        for number, block in enumerate(blocks):
            exec(compile(block, f'{PAGE.name}, block {number}', 'exec'), names)
    printed = capsys.readouterr().out
    assert re.search(r'^ *\d+\.\d\d%  motion \d$', printed, re.M)
    assert 'backbone.plugins.after_layer3.0 torch.Size([1, 4, 4, 4])' in printed
    assert 'torch.Size([2, 4, 7, 7])' in printed
    distance = names['encoder'].distance(names['feature'], names['features'])
    assert distance.argmin() == 0  # the same texture
    assert len(list((workplace / 'out' / 'walk.mp4' / 'frames_0').iterdir())) == 20
