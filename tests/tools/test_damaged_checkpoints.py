"""A bit of a checkpoint that flipped: every tool refuses it, unless one insists."""
import shutil

import pytest

from cosam_mm.evaluation.metrics.reid_metric import save_features
from projects.fault_injection.hostile_files import flip_a_bit
from tests.action_data import write_data_root
from tests.gallery_data import write_tracklet
from tests.ranking_data import small_config, small_features, write_tracklets
from tests.tool_process import assert_refused

COMMANDS = {
    'train --resume': ['tools/train.py', 'action.py', '--resume', 'action.pth',
                       '--cfg-options', 'train_cfg.max_epochs=1'],
    'train load_from': ['tools/train.py', 'action.py', '--cfg-options',
                        'load_from=action.pth', 'train_cfg.max_epochs=1'],
    'train init_cfg': [
        'tools/train.py', 'action.py', '--cfg-options', 'train_cfg.max_epochs=1',
        'model.backbone.init_cfg.type=Pretrained',
        'model.backbone.init_cfg.checkpoint=action.pth',
        'model.backbone.init_cfg.prefix=backbone.'],
    'test': ['tools/test.py', 'action.py', 'action.pth', '--force'],
    'demo': ['tools/demo.py', 'action.pth', 'CLIP'],
    'export': ['tools/deployment/export.py', 'action.pth', '--format', 'program',
               '--overwrite'],
    'report': ['tools/report.py', '.', '--checkpoint', 'action.pth', '--no-masks'],
    'masks': ['tools/visualizations/visualize_masks.py', 'action.py', 'action.pth',
              'CLIP', '--format', 'gif'],
    'classes': ['tools/visualizations/analyze_results.py', 'scores.npz', '--checkpoint',
                'action.pth'],
    'index': ['tools/search_gallery.py', 'index', 'reid.pth', 'people', '--out',
              'new.npz', '--num-workers', 0],
    'search': ['tools/search_gallery.py', 'search', 'gallery.npz', 'people/p0',
               '--checkpoint', 'reid.pth'],
    'ranks': ['tools/visualizations/visualize_ranks.py', 'ranks/f.npz', '--data-root',
              'ranks/data', '--masks', 'reid.pth'],
    'convert': ['tools/model_converters/convert_reference.py', 'reid.pth', 'new.pth']}


@pytest.fixture(scope='module')
def folder(repo, tmp_path_factory):
    """Damaged checkpoints, their configs, and all that goes with them."""
    folder = tmp_path_factory.mktemp('damaged')
    for path in (repo / 'tests/data/written_by_0_1').glob('*.*'):
        shutil.copy(path, folder)
    root = write_data_root(folder / 'demo', 'demo', 8, train_seed=0)
    (folder / 'clip.avi').symlink_to(sorted((root / 'videos').rglob('*.avi'))[0])
    write_tracklet(folder / 'people' / 'p0', 5, 0)
    write_tracklets(folder / 'ranks' / 'data')
    save_features(str(folder / 'ranks' / 'f.npz'), small_features())
    small_config('nowhere').dump(folder / 'ranks' / 'config.py')
    from cosam_mm.utils.io import read_checkpoint
    for name in ('action', 'reid'):
        path = folder / f'{name}.pth'
        path.with_suffix('.py').write_text(read_checkpoint(path)['meta']['cfg'])
        flip_a_bit(path)
    return folder


@pytest.mark.parametrize('name', COMMANDS)
def test_refused_unless_someone_insists(nest, folder, name):
    tool, *arguments = ['clip.avi' if word == 'CLIP' else word
                        for word in COMMANDS[name]]
    assert_refused(nest.run(tool, *arguments, cwd=folder), 'damaged', 'checksum')
    insisted = nest.run(tool, *arguments, '--no-verify', cwd=folder)
    assert 'checksum' in insisted.stderr
    assert 'all the same' in insisted.stderr
    # A model of ours is none of a reference repository.
    assert insisted.returncode == (2 if name == 'convert' else 0), insisted.stderr


def test_report_of_a_folder_names_it(nest, folder, tmp_path):
    shutil.copy(folder / 'scores.npz', tmp_path)
    shutil.copy(folder / 'action.pth', tmp_path / 'epoch_1.pth')
    done = nest.ok('tools/report.py', tmp_path, '--no-masks', cwd=tmp_path)
    assert 'epoch_1.pth is damaged' in done.stdout


@pytest.mark.parametrize(('name', 'path'), [
    ('ActionRecognizer', 'action.pth'), ('TrackletEncoder', 'reid.pth')])
def test_interfaces(nest, folder, tmp_path, name, path):
    code = f"""
    import os
    from cosam_mm import {name}
    try:
        {name}({str(folder / path)!r}, device='cpu')
    except ValueError as error:
        print(error)
    os.environ['COSAM_MM_NO_VERIFY'] = '1'
    {name}({str(folder / path)!r}, device='cpu')
    """
    done = nest.run_code(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'checksum' in done.stdout
    assert 'all the same' in done.stderr
