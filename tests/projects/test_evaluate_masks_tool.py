"""``tools/analysis_tools/evaluate_masks.py`` as a process."""
import json
import re

import pytest
import torch
from PIL import Image

from cosam_mm.datasets.synthetic.action_dataset_files import generate_action_dataset
from cosam_mm.datasets.synthetic.reid_dataset_files import generate_reid_dataset

TOOL = 'tools/analysis_tools/evaluate_masks.py'
COSAMS = ['backbone.plugins.after_layer3.0', 'backbone.plugins.after_layer4.0']
SMALL = 'model.backbone.base_channels=8'


@pytest.fixture(scope='module')
def reid_root(tmp_path_factory):
    return generate_reid_dataset(
        tmp_path_factory.mktemp('masks') / 'reid', 1, 2, 2, seed=4, num_distractors=1,
        num_junk=1, progress=False)


@pytest.fixture(scope='module')
def reid_config(repo):
    return repo / 'configs/reid/resnet14_cosam45_tp_demo.py'


def test_untrained_model_and_checkpoint(nest, reid_config, reid_root, tmp_path):
    from mmengine.config import Config

    from cosam_mm.visualization.mask_models import untrained_model
    config = Config.fromfile(reid_config)
    config.model.backbone.base_channels = 8
    model = untrained_model(config, seed=5, device='cpu')
    state = model.state_dict()
    torch.save(dict(meta=dict(epoch=3, seed=5), state_dict=state), tmp_path / 'a.pth')
    done = nest.run(TOOL, reid_config, 'a.pth', '--untrained', '--data-root', reid_root,
                    '--num', 3, '--out', 'new/masks.json', '--plot', 'new/masks.png',
                    '--device', 'cpu', '--cfg-options', SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / 'new' / 'masks.json').read_text())
    before, after = found['states']
    assert (before['weights'], before['epoch']) == ('untrained', 0)
    assert (after['weights'], after['epoch']) == ('a', 3)
    # The same weights in other ways.
    assert before['rows'] == after['rows']
    assert [(row['map'], row['place']) for row in after['rows']] == [
        *((kind, place) for kind in ('cosam', 'grad_cam', 'feature_energy')
          for place in COSAMS), ('centre', '')]
    assert all(0 <= row['auc_mean'] <= 1 and len(row['auc_of_videos']) == 3
               for row in after['rows'])
    assert found['seed'] == 5
    assert found['data'] == json.loads((reid_root / 'reid_demo.json').read_text())
    # 9 tracklets without the junk: the middle one of each third.
    assert found['videos'] == ['0002C1T0001', '0002C2T0002', '0003C2T0001']
    assert found['environment']['torch'] == torch.__version__
    assert found['command'].endswith(f'--cfg-options {SMALL}')
    assert '3 videos, ' in done.stdout
    share = after['rows'][0]['share_mean']
    assert f'by chance the best IoU is {share:.3f} or' in done.stdout
    assert f'at share about {share / (2 - share):.3f}\n' in done.stdout
    rows = re.findall(r'^(untrained|a) +(0|3) +(\w+) +(\S+) +4 x 4 x 2 +(\d\.\d{3}) ',
                      done.stdout, re.M)
    assert [row[3] for row in rows] == ['after_layer3', 'after_layer4'] * 6
    assert [row[4] for row in rows[6:]] == [
        f'{row["auc_mean"]:.3f}' for row in after['rows'][:-1]]
    with Image.open(tmp_path / 'new' / 'masks.png') as picture:
        assert min(picture.size) > 200


def test_maps_of_an_action_model(nest, repo, tmp_path):
    root = generate_action_dataset(tmp_path / 'drawn', 3, num_frames=32, progress=False)
    done = nest.run(TOOL, repo / 'configs/resnext14_cosam_bert_demo.py', '--untrained',
                    '--data-root', root, '--num', 2, '--maps', 'cosam', 'centre',
                    '--out', 'masks.json', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    state, = json.loads((tmp_path / 'masks.json').read_text())['states']
    assert [(row['map'], row['grid']) for row in state['rows']] == [
        ('cosam', [4, 4, 4]), ('centre', [1, 56, 56])]
    assert 'feature_energy' not in done.stdout


def test_wrong_arguments(nest, repo, reid_config, reid_root, tmp_path):
    torch.save(dict(meta={}, state_dict={}), tmp_path / 'a.pth')
    common = ('--data-root', reid_root)
    for arguments, message in [
            ((reid_config, *common), 'give a checkpoint, or --untrained'),
            (('no.py', '--untrained', *common), 'there is no config no.py'),
            ((reid_config, 'no.pth', *common), 'error: .*no.pth'),
            ((reid_config, '--untrained', '--data-root', tmp_path),
             'error: .* has neither demo.json nor reid_demo.json: silhouettes are '
             'known of synthetic data sets only'),
            ((reid_config, '--untrained', *common, '--num', 0),
             'must be 1 or more, got 0'),
            ((reid_config, '--untrained', *common, '--maps', 'nonlocal'),
             "error: There is no map 'nonlocal': this VideoReID holds no NonLocal2d"),
            ((reid_config, '--untrained', *common, '--layers', 'layer3'),
             "error: There is no module 'layer3' in this VideoReID"),
            ((reid_config, 'a.pth', *common, '--plot', 'a.png'),
             'error: a.pth does not tell its epoch, which --plot needs: leave that')]:
        done = nest.run(TOOL, *arguments, cwd=tmp_path)
        assert done.returncode == 2, arguments
        assert re.search(message, done.stderr), done.stderr
        assert 'Traceback' not in done.stderr
