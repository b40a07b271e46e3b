"""The wheel as built, the versions it asks for, and the index of its models."""
import re
import shutil
import sys
import tarfile
from configparser import ConfigParser
from contextlib import suppress
from email.parser import Parser
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from torch.utils.flop_counter import FlopCounterMode

import cosam_mm
from cosam_mm.apis.complexity import blank_clip
from cosam_mm.utils.config import input_shape
from tests.tool_process import run_fresh

REPO = Path(__file__).resolve().parents[1]
EXTRAS = {'action', 'deploy', 'mmcv-lite', 'reid', 'search', 'tests'}
FOLDERS = ('benchmarks', 'cosam_mm', 'configs', 'docs', 'projects', 'requirements',
           'tests', 'tools')
PACKED = ('.py', '.j2', '.css', '.js')
METAFILES = sorted((REPO / 'configs').rglob('metafile.yml'))


def copy_sources(target):
    """The files that a source distribution is made of, without generated ones."""
    target.mkdir()
    generated = shutil.ignore_patterns('__pycache__', '.mim', '*.pyc')
    for folder in FOLDERS:
        shutil.copytree(REPO / folder, target / folder, ignore=generated)
    for path in REPO.iterdir():
        if path.is_file() and not path.name.startswith('.'):
            shutil.copy2(path, target)
    return target


def build(kind, tree, out):
    """What the build backend makes of a source tree, without isolation or network."""
    out.mkdir()
    done = run_fresh(
        sys.executable, '-c', 'import sys; from setuptools import build_meta; '
        'getattr(build_meta, sys.argv[1])(sys.argv[2])', f'build_{kind}', out, cwd=tree)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*')
            if path.is_file() and '__pycache__' not in path.parts}


def load_yaml(path):
    return yaml.safe_load((REPO / path).read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def sdist(tmp_path_factory):
    """The source distribution of this checkout, unpacked."""
    base = tmp_path_factory.mktemp('sdist')
    archive = build('sdist', copy_sources(base / 'tree'), base / 'out')
    safely = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
    with tarfile.open(archive) as tar:
        tar.extractall(base / 'unpacked', **safely)
    (unpacked,) = (base / 'unpacked').iterdir()
    return unpacked


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory):
    """Folder of the wheel that it makes where an earlier build has left things."""
    base = tmp_path_factory.mktemp('wheel')
    left_over = sdist / 'build' / 'lib' / 'cosam_mm' / 'removed_module.py'
    left_over.parent.mkdir(parents=True)
    left_over.touch()
    shutil.unpack_archive(build('wheel', sdist, base / 'out'), base / 'installed',
                          'zip')
    return base / 'installed'


@pytest.fixture(scope='module')
def wheel_metadata(wheel):
    (path,) = wheel.glob('*.dist-info/METADATA')
    return Parser().parsestr(path.read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def requirements(wheel_metadata):
    return [Requirement(line) for line in wheel_metadata.get_all('Requires-Dist')]


def extra_of(requirement):
    """Name of the extra that a requirement belongs to, None for all users."""
    match = re.search(r'extra == "(.+?)"', str(requirement.marker or ''))
    return match and match.group(1)


# -- files ---------------------------------------------------------------------


def test_wheel_holds_the_package_and_what_mim_needs_and_nothing_else(sdist, wheel):
    expected = {f'cosam_mm/{name}': REPO / 'cosam_mm' / name
                for name in files_below(REPO / 'cosam_mm')
                if name.endswith(PACKED) and not name.startswith('.mim')}
    for folder in ('configs', 'tools'):
        expected |= {f'cosam_mm/.mim/{folder}/{name}': REPO / folder / name
                     for name in files_below(REPO / folder)}
    expected['cosam_mm/.mim/model-index.yml'] = REPO / 'model-index.yml'
    found = {name for name in files_below(wheel) if '.dist-info/' not in name}
    assert found == set(expected)
    for name, path in expected.items():
        assert (wheel / name).read_bytes() == path.read_bytes(), name
    (licence,) = wheel.glob('*.dist-info/**/LICENSE')
    assert licence.read_bytes() == (REPO / 'LICENSE').read_bytes()
    assert {'CHANGELOG.md', 'CITATION.cff', 'CONTRIBUTING.md', 'tests/conftest.py',
            'requirements/constraints.txt'} <= files_below(sdist)


def test_installed_wheel_imports_and_its_configs_load(wheel):
    done = run_fresh(
        sys.executable, '-W', 'ignore', '-c',
        'import sys; sys.path.insert(0, "."); import cosam_mm\n'
        'from mmengine.config import Config\n'
        'cfg = Config.fromfile('
        '"cosam_mm/.mim/configs/resnext101_cosam_bert_hmdb51.py")\n'
        'print(cosam_mm.__file__, cfg.model.cls_head.num_classes)', cwd=wheel)
    assert done.returncode == 0, done.stderr
    file, classes = done.stdout.split()
    assert (wheel / file).samefile(wheel / 'cosam_mm' / '__init__.py')
    assert classes == '51'


def test_wheel_trains_and_answers_in_an_empty_folder(wheel, tmp_path):
    """By the command that it installs, on a config that it ships, named alone."""
    (points,) = wheel.glob('*.dist-info/entry_points.txt')
    scripts = ConfigParser()
    scripts.read(points)
    assert scripts['console_scripts']['cosam-mm'] == 'cosam_mm.__main__:main'

    def run(*arguments, status=0):
        done = run_fresh(sys.executable, '-W', 'ignore', '-m', 'cosam_mm', *arguments,
                         cwd=tmp_path, PYTHONPATH=str(wheel))
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    assert 'cosam-mm train configs/resnext14_cosam_bert_demo.py' in run(
        'prepare', 'demo', '--out', 'data/demo', '--num-videos-per-class', '3')
    name, copied = 'resnext14_cosam_bert_demo', tmp_path / 'own' / 'mine.py'
    run('configs', 'copy', name, 'own')
    copied.write_text(f"_base_ = './{name}.py'\nwork_dir = 'trained'\n"
                      'model = dict(backbone=dict(base_channels=8))\n')
    log = run('train', copied, '--epochs', '1', '--workers', '0')
    assert 'acc/top1' in log
    assert '%' in run('demo', copied, next(tmp_path.rglob('*.avi')))
    # Without a checkout, advice names what is there.
    error = run('train', name, '--data-root', 'none', '--workers', '0', status=2)
    assert 'cosam-mm prepare demo --out none' in error
    assert (wheel / 'cosam_mm' / '.mim' / 'configs' / f'{name}.py').as_posix() in error


def test_editable_installation_links_to_the_checkout(tmp_path):
    tree = copy_sources(tmp_path / 'tree')
    # Links of an earlier one are replaced, and what they lead to stays.
    links = tree / 'cosam_mm' / '.mim'
    links.mkdir()
    (links / 'configs').symlink_to('../../configs')
    build('editable', tree, tmp_path / 'out')
    for part in ('configs', 'tools', 'model-index.yml'):
        assert (links / part).is_symlink()
        assert (links / part).resolve() == (tree / part).resolve()
    assert (links / 'configs' / 'metafile.yml').is_file()


# -- versions ------------------------------------------------------------------


def test_versions_extras_and_lower_bounds(wheel_metadata, requirements):
    version = cosam_mm.__version__
    assert wheel_metadata['Version'] == load_yaml('CITATION.cff')['version'] == version
    assert f'[{version}]' in (REPO / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert set(wheel_metadata.get_all('Provides-Extra')) == EXTRAS
    names = {extra: {str(r).split(';')[0] for r in requirements if extra_of(r) == extra}
             for extra in EXTRAS}
    assert names['action'] <= names['tests']
    assert {r.name for r in requirements if extra_of(r) is None} == {
        'torch', 'mmengine', 'numpy'}
    for requirement in requirements:
        assert any(spec.operator == '>=' for spec in requirement.specifier), requirement


def test_constraints_lie_within_the_ranges(requirements):
    lines = (REPO / 'requirements' / 'constraints.txt').read_text().splitlines()
    lines = [line.split('==') for line in lines if line and not line.startswith('#')]
    pins = {canonicalize_name(name): Version(version) for name, version in lines}
    assert len(pins) == len(lines), 'a package is pinned twice'
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name != 'setuptools':  # builds the package; whatever is there will do
            assert requirement.specifier.contains(pins[name]), requirement
    opencv = {version for name, version in pins.items() if name.startswith('opencv')}
    assert len(opencv) == 1, 'builds of OpenCV share a folder: pin one version'


def test_no_requirement_brings_mmcv(requirements):
    """Neither full mmcv nor mmcv-lite, which would be laid over a full one, but in an
    extra of its own; nor through what is required in turn, if that is installed."""
    assert {(canonicalize_name(r.name), extra_of(r)) for r in requirements
            if 'mmcv' in r.name} == {('mmcv-lite', 'mmcv-lite')}
    waiting = [r for r in requirements if extra_of(r) != 'mmcv-lite']
    seen = set()
    while waiting:
        name = canonicalize_name(waiting.pop().name)
        assert not name.startswith('mmcv')
        with suppress(metadata.PackageNotFoundError):
            waiting += [r for r in map(Requirement, metadata.requires(name) or [])
                        if canonicalize_name(r.name) not in seen
                        and (r.marker is None or r.marker.evaluate({'extra': ''}))]
        seen.add(name)
    assert {'torch', 'mmengine', 'mmaction2', 'opencv-python'} <= seen


# -- model index ---------------------------------------------------------------


def indexed_models(metafile):
    return {model['Name']: model for model in load_yaml(metafile)['Models']}


ACTION_MODELS = indexed_models('configs/metafile.yml')


@pytest.mark.parametrize('metafile', METAFILES, ids=lambda path: path.parent.name)
def test_metafile_names_every_config_beside_it(metafile):
    assert metafile.relative_to(REPO).as_posix() in load_yaml('model-index.yml')[
        'Import']
    content, models = load_yaml(metafile), indexed_models(metafile)
    assert sorted(model['Name'] for model in content['Models']) == sorted(
        path.stem for path in metafile.parent.glob('*.py')
        if not re.search('_(demo|own)(_strong)?$', path.stem))
    assert len(models) == (72 if metafile.parent.name == 'reid' else 46)
    assert {model['In Collection'] for model in models.values()} == {
        collection['Name'] for collection in content['Collections']}
    for name, model in models.items():
        assert REPO / model['Config'] == metafile.parent / f'{name}.py'
        # Metrics are the papers', and are marked so; there are no weights.
        assert 'Weights' not in model
        for result in model.get('Results', ()):
            assert result['Reported By'] == 'paper'
            assert all(metric.endswith(' (paper)') for metric in result['Metrics'])


def test_results_are_those_of_the_paper():
    """(top-1, top-3) of each row, HMDB51 before UCF101."""
    rows = {
        'resnext101_lstm': (73.68, 87.46, 93.90, 98.05),
        'resnext101_cosam_lstm': (75.16, 89.22, 94.59, 98.52),
        'resnext101_bert': (76.08, 90.46, 95.50, 98.23),
        'resnext101_cosam_bert': (77.52, 92.55, 95.96, 98.84),
        'i3d_bert': (68.63, 87.78, 92.50, 98.26),
        'i3d_cosam_bert': (69.38, 87.95, 93.05, 98.63),
    }
    found = {name: (result['Dataset'], *result['Metrics'].values())
             for name, model in ACTION_MODELS.items()
             for result in model.get('Results', ())}
    assert found == {
        f'{name}_{dataset.lower()}': (dataset, *metrics[at:at + 2])
        for name, metrics in rows.items() for dataset, at in (('HMDB51', 0),
                                                              ('UCF101', 2))}


def build_model(name):
    """The model of a config and what the index says of it; nothing is computed."""
    cfg = Config.fromfile(REPO / 'configs' / f'{name}.py')
    # Distributions that blends of training batches are sampled from compute.
    cfg.model.data_preprocessor.pop('blending', None)
    with DefaultScope.overwrite_default_scope('mmaction'), torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
    models = indexed_models((REPO / 'configs' / f'{name}.py').parent / 'metafile.yml')
    entry = models[name.rpartition('/')[2]]
    parameters = sum(p.numel() for p in model.parameters())
    assert entry['Metadata']['Parameters'] == f'{parameters / 1e6:.2f}M'
    return cfg, model, entry


@pytest.mark.parametrize('name', ACTION_MODELS)
def test_parameters_flops_and_input_in_the_index(name, monkeypatch):
    # MMAction2's transformers read these numbers when they are built.
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    cfg, model, entry = build_model(name)
    shape, stated = input_shape(cfg), entry['Metadata']
    with FlopCounterMode(display=False) as counter, torch.no_grad(), \
            torch.device('meta'):
        model(blank_clip(model, shape), mode='tensor', stage='head')
    # The counter takes two for a multiply-add and leaves normalisation out.
    giga = counter.get_total_flops() / 2 / 1e9
    assert float(stated['FLOPs'].rstrip('G')) == pytest.approx(giga, rel=0.01)
    assert stated['Resolution'] == 'x'.join(map(str, shape[1:]))
    assert stated['Training Data'].lower() == cfg.train_dataloader.dataset.name
    assert entry['Modality'] == {3: 'RGB', 2: 'Flow'}[shape[0]]


@pytest.mark.parametrize('name', [  # the rest differ in where attention stands
    'se_resnet50_cosam45_tp_mars', 'resnet50_ta_dukemtmc', 'resnet50_cosam45_rnn_ilids',
    'clip_vitb16_mars', 'clip_vitb16_cosam_mars'])
def test_parameters_of_reid_models_in_the_index(name):
    build_model(f'reid/{name}')
