"""Every work-around against the real packages, each in a fresh interpreter."""
import subprocess
import sys
import textwrap

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OneCycleLR

from cosam_mm import compat


def run_python(code, *flags):
    """(exit status, stdout, stderr) of ``code`` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', *flags, '-c', textwrap.dedent(code)],
        capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout.strip(), done.stderr


def test_import_needs_torch_and_mmengine_only():
    """Packages beyond those two are made unimportable."""
    status, out, err = run_python('''
        import sys
        import torch, mmengine
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split('.')[0] in ('mmaction', 'mmcv', 'transformers', 'decord',
                                          'scipy', 'tqdm'):
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Refuse())
        import cosam_mm
        from mmengine.registry import MODELS
        for name in ('COSAM', 'ResNeXt3D', 'I3D'):
            assert MODELS.get(name) is not None, name
        print(sorted(name for name in sys.modules if name in ('mmaction', 'mmcv')))
    ''')
    assert (status, out) == (0, '[]'), err


def test_import_does_not_import_mmaction():
    status, out, err = run_python('''
        import sys, cosam_mm
        print('mmaction' in sys.modules, 'mmcv' in sys.modules)
    ''')
    assert (status, out) == (0, 'False False'), err


@pytest.mark.parametrize('first', ['cosam_mm', 'mmaction.registry'])
def test_mmaction_parts_import_and_ours_register(first):
    status, out, err = run_python(f'''
        import {first}
        import cosam_mm
        import mmaction.models, mmaction.datasets, mmaction.evaluation
        from mmaction.registry import DATASETS, METRICS, MODELS, TRANSFORMS
        found = [registry.get(name) is not None for registry, name in (
            (MODELS, 'BERTHead'), (MODELS, 'LSTMHead'), (MODELS, 'MeanHead'),
            (MODELS, 'COSAM'), (DATASETS, 'ActionVideoDataset'),
            (TRANSFORMS, 'SafeDecordInit'), (METRICS, 'ActionMetric'))]
        print(all(found))
    ''')
    assert (status, out) == (0, 'True'), err


def test_missing_localizer_says_where_to_get_it():
    status, out, err = run_python('''
        import cosam_mm
        from mmaction.models.localizers import DRN
        try:
            DRN()
        except ImportError as error:
            print(error)
    ''')
    assert status == 0, err
    assert 'not part of the published mmaction2 wheel' in out


def test_importlib_metadata_is_supplied_when_missing():
    status, out, err = run_python('''
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                return None
        import cosam_mm
        import importlib_metadata
        print(importlib_metadata.version('mmengine'))
    ''')
    import mmengine
    assert (status, out) == (0, mmengine.__version__), err


def test_a_real_module_wins_over_the_fallback(tmp_path):
    (tmp_path / 'importlib_metadata.py').write_text('real = True')
    status, out, err = run_python(f'''
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import cosam_mm, importlib_metadata
        print(importlib_metadata.real)
    ''')
    assert (status, out) == (0, 'True'), err


def test_multimodal_models_become_placeholders_with_new_transformers():
    status, out, err = run_python('''
        import cosam_mm, mmaction.models, transformers
        from mmaction.utils.dependency import WITH_MULTIMODAL
        print(int(transformers.__version__.split('.')[0]) < 5 or not WITH_MULTIMODAL)
    ''')
    assert (status, out) == (0, 'True'), err


@pytest.mark.parametrize(('version', 'has_timm', 'kept'), [
    (4, True, True), (4, False, False), (5, True, False)])
def test_multimodal_switch_follows_what_is_there(monkeypatch, version, has_timm, kept):
    monkeypatch.setattr(compat, '_major_version', lambda package: version)
    monkeypatch.setattr(compat.importlib.util, 'find_spec',
                        lambda name: object() if has_timm else None)
    dependency = type(sys)('dependency')
    dependency.WITH_MULTIMODAL = True
    compat._use_multimodal_placeholders(dependency)
    assert dependency.WITH_MULTIMODAL is kept


def test_install_twice_changes_nothing():
    before = list(sys.meta_path)
    compat.install()
    assert sys.meta_path == before


def test_on_import_runs_once_after_the_module(tmp_path, monkeypatch):
    (tmp_path / 'late_module_for_test.py').write_text('value = 3')
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    compat.on_import('late_module_for_test', lambda m: seen.append(m.value))
    assert seen == []
    import late_module_for_test
    assert seen == [3]
    assert late_module_for_test.__spec__.loader is late_module_for_test.__loader__
    compat.on_import('late_module_for_test', lambda m: seen.append('at once'))
    assert seen == [3, 'at once']


def test_mmengine_checkpoint_loads_with_weights_only(tmp_path):
    hub = MessageHub.get_instance('test_compat')
    for value in (0.5, 1, 2.25):
        hub.update_scalar('train/loss', value)
    hub.update_info('epoch', 3)
    torch.save(dict(message_hub=hub.state_dict(), meta=dict(epoch=3)),
               tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert buffer.mean() == pytest.approx(1.25)
    assert loaded['message_hub']['runtime_info']['epoch'] == 3


@pytest.mark.parametrize('strategy', ['cos', 'linear'])
def test_one_cycle_schedule_loads_with_weights_only(tmp_path, strategy):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = OneCycleLR(optimizer, eta_max=0.1, total_steps=5,
                          anneal_strategy=strategy)
    schedule.step()
    torch.save(schedule.state_dict(), tmp_path / 'a.pth')
    state = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert state['last_step'] == schedule.last_step
    assert state['anneal_func'] is schedule.anneal_func


class _Malicious:

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f'open({self.marker!r}, "w").close()',)


class _Walker:
    """Asks ``getattr`` for something that is no statistic."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path):
    marker = tmp_path / 'marker'
    torch.save(_Malicious(str(marker)), tmp_path / 'bad.pth')
    with pytest.raises(Exception, match='Unsupported global|Weights only load'):
        torch.load(tmp_path / 'bad.pth')
    assert not marker.exists()


def test_getattr_is_allowed_for_statistics_only(tmp_path):
    torch.save(_Walker(), tmp_path / 'walk.pth')
    with pytest.raises(Exception, match='do not trust this file'):
        torch.load(tmp_path / 'walk.pth')
