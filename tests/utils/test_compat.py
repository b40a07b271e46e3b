"""Every addition against the real packages, and what ``import cosam_mm`` brings."""
import importlib
import importlib.util
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
from mmengine.registry import Registry

from cosam_mm.utils import compat


def test_import_needs_torch_and_mmengine_only(run_python):
    """Packages beyond those two are made unimportable."""
    status, out, err = run_python('''
        import sys
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split('.')[0] in ('mmaction', 'mmcv', 'transformers', 'decord',
                                          'scipy', 'tqdm'):
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Refuse())
        import cosam_mm
        from cosam_mm import TrackletEncoder
        from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS
        for registry, name in ((MODELS, 'COSAM'), (MODELS, 'I3D'), (DATASETS, 'MARS'),
                               (METRICS, 'ReIDMetric'), (TRANSFORMS, 'ResizeFrames')):
            assert registry.get(name) is not None, name
        print(sorted(name for name in sys.modules if name in ('mmaction', 'mmcv')))
    ''')
    assert (status, out) == (0, '[]'), err


def test_mmaction_imports_and_has_our_parts(run_python):
    status, out, err = run_python('''
        import mmaction.registry  # before; every tool's test has it after
        import sys, transformers
        import cosam_mm
        print('mmaction.models' in sys.modules)
        import mmaction.models, mmaction.datasets, mmaction.evaluation
        from mmaction.models.localizers import DRN
        from mmaction import registry
        from mmaction.utils.dependency import WITH_MULTIMODAL
        print([name for kind, names in (
            ('MODELS', 'BERTHead LSTMHead MeanHead COSAM'),
            ('DATASETS', 'ActionFrameDataset ActionVideoDataset'),
            ('TRANSFORMS', 'ClipRandAugment FlowFlip FlowTenCrop SafeDecordDecode '
                           'SafeDecordInit SafeRawFrameDecode'),
            ('METRICS', 'ActionMetric DumpScores')) for name in names.split()
            if getattr(registry, kind).get(name) is None])
        print(int(transformers.__version__.split('.')[0]) < 5 or not WITH_MULTIMODAL)
        try:
            DRN()
        except ImportError as error:
            print('wheel' in str(error))
    ''')
    assert (status, out.split()) == (0, ['False', '[]', 'True', 'True']), err


@pytest.mark.parametrize('is_installed', [True, False])
def test_modules_are_supplied_where_nobody_else_has_them(
        run_python, tmp_path, is_installed):
    """moviepy has the names of version 2."""
    (tmp_path / 'moviepy').mkdir()
    (tmp_path / 'moviepy' / '__init__.py').write_text('ImageSequenceClip = "version 2"')
    (tmp_path / 'importlib_metadata.py').write_text('version = dict(mmengine="1").get')
    status, out, err = run_python(f'''
        import sys
        from importlib.machinery import PathFinder
        sys.path.insert(0, {str(tmp_path)!r})
        find_spec = PathFinder.find_spec
        if not {is_installed}:
            PathFinder.find_spec = lambda name, *args: (
                None if name == 'importlib_metadata' else find_spec(name, *args))
        import cosam_mm, importlib_metadata, mmengine
        from moviepy.editor import ImageSequenceClip
        is_supplied = importlib_metadata.version('mmengine') == mmengine.__version__
        print(ImageSequenceClip, is_supplied)
    ''')
    assert (status, out) == (0, f'version 2 {not is_installed}'), err


@pytest.mark.parametrize('before', [True, False])
@pytest.mark.parametrize(('package', 'transformers', 'has_timm', 'works'), [
    ('mmaction', '4.57.1', True, True), ('mmaction', '4.57.1', False, False),
    ('mmaction', '5.0.0', True, False), ('mmaction', None, True, True),
    ('mmpretrain', '4.57.1', False, True), ('mmpretrain', '5.0.0', True, False)])
def test_multimodal_switch_follows_what_is_installed(
        monkeypatch, package, transformers, has_timm, works, before):
    dependency = SimpleNamespace(WITH_MULTIMODAL=before,
                                 __name__=f'{package}.utils.dependency')

    def version(name):
        if transformers is None:
            raise PackageNotFoundError(name)
        return transformers

    monkeypatch.setattr('importlib.metadata.version', version)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: has_timm or None)
    compat._use_multimodal_placeholders(dependency)
    assert dependency.WITH_MULTIMODAL is (before and works)


def test_mmpretrain_imports_and_finds_our_parts(run_python):
    pytest.importorskip('mmpretrain')
    status, out, err = run_python('''
        import cosam_mm, mmpretrain.registry, transformers
        import mmpretrain.models, mmpretrain.datasets, mmpretrain.evaluation
        from mmpretrain.registry import MODELS
        from mmpretrain.utils.dependency import WITH_MULTIMODAL
        assert int(transformers.__version__.split('.')[0]) < 5 or not WITH_MULTIMODAL
        print(MODELS.get('COSAM') is cosam_mm.layers.COSAM,
              MODELS.get('Blip2Caption') is not None)
    ''')
    assert (status, out) == (0, 'True True'), err


# -- a torchvision whose compiled part does not load -----------------------------


def test_torchvision_imports_and_refuses_what_it_cannot_do(run_python):
    pytest.importorskip('torchvision')
    status, out, err = run_python('''
        import cosam_mm, torch, torchvision
        from torchvision import extension
        assert hasattr(extension, '_declared_operators') is not extension._has_ops()
        model = torchvision.models.resnet18()
        boxes, scores = torch.tensor([[0., 0., 2., 2.]]), torch.ones(1)
        try:
            kept = torchvision.ops.nms(boxes, scores, 0.5).tolist()
        except RuntimeError as error:
            kept = "Couldn't load custom C++ ops" in str(error)
        print(kept == ([0] if extension._has_ops() else True))
    ''')
    assert (status, out) == (0, 'True'), err


def test_declared_operators_take_shapes_and_do_no_work(run_python):
    """What torchvision does on import, with and without the declaration."""
    status, out, err = run_python('''
        import torch
        from types import SimpleNamespace
        from cosam_mm.utils import compat
        def describe():
            torch.library.register_fake('torchvision::nms')(
                lambda dets, scores, iou_threshold: dets.new_empty(0))
        try:
            describe()
        except RuntimeError as error:
            print('nms does not exist' in str(error))
        complete = SimpleNamespace(_has_ops=lambda: True)
        compat._declare_torchvision_operators(complete)
        assert not hasattr(complete, '_declared_operators')
        extension = SimpleNamespace(_has_ops=lambda: False)
        compat._declare_torchvision_operators(extension)
        describe()
        try:
            torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        except NotImplementedError:
            print('refused')
    ''')
    assert (status, out.split()) == (0, ['True', 'refused']), err


def test_old_names_of_modules_say_the_new_ones():
    names = ('compat', 'datasets.action', 'engine.deployment', 'engine.gallery',
             'engine.inference', 'evaluation.action', 'evaluation.reid', 'functional',
             'models.convert')
    for name in names:
        sys.modules.pop(f'cosam_mm.{name}', None)
        with pytest.warns(DeprecationWarning, match=f'cosam_mm.{name} is now') as said:
            module = importlib.import_module(f'cosam_mm.{name}')
        assert said[0].filename == importlib.__file__
        assert not hasattr(module, 'nothing')
    from cosam_mm.evaluation.reid import ReIDMetric, load_features
    assert ReIDMetric.__module__ == 'cosam_mm.evaluation.metrics.reid_metric'
    assert callable(load_features)


def test_an_old_name_in_a_config_builds_the_new_class():
    registry = Registry('made up', scope='made_up')

    @registry.register_module()
    class NewName:

        def __init__(self, size):
            self.size = size

    compat.register_renamed(registry, 'OldName', NewName)
    with pytest.warns(DeprecationWarning, match='NewName'):
        built = registry.build(dict(type='OldName', size=3))
    assert type(built) is NewName
    assert built.size == 3


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
