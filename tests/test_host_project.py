"""Another OpenMMLab project in the same process behaves as without ``cosam_mm``."""
import json
import textwrap

import pytest

# A package of its own scope, with registries, a location, and names in a child.
REGISTRY = '''
from mmengine.registry import HOOKS as ROOT_HOOKS, MODELS as ROOT, Registry
MODELS = Registry('model', parent=ROOT, scope='host', locations=['host.models'])
HOOKS = Registry('hook', parent=ROOT_HOOKS, scope='host')
CHILD = Registry('model', parent=MODELS, scope='guest_of_host')
'''
MODELS = '''
import torch
from mmengine.model import BaseModel
from .registry import CHILD, MODELS

@MODELS.register_module()
class Net(BaseModel):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())

class Vocabulary:
    """What only this project can unpickle."""
    def __init__(self, words):
        self.words = words

@CHILD.register_module()
class Small:
    pass
'''
USE = '''
import json, os, sys
os.environ['TORCH_HOME'] = os.path.abspath('cache')
sys.modules['torchvision'] = None  # one that does not import alone is another matter
if {imports!r}:
    import cosam_mm
import mmengine, torch, mmengine.hooks, mmengine.infer, mmengine.runner, mmengine.model
import mmengine.visualization, mmengine.evaluator, mmengine.optim
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
import mmengine.runner.checkpoint
import host.registry
from host.registry import CHILD, MODELS
if {imports!r}:
    assert MODELS.get('COSAM') is ROOT.get('COSAM') is not None
from host.models import Net, Vocabulary

found = {{}}

def origin(thing):
    code = getattr(thing, '__code__', None)
    return [str(getattr(thing, name, None)) for name in (
        '__module__', '__qualname__')] + [code and code.co_filename.split(os.sep)[-3:],
                                         code and code.co_firstlineno]

# Where every function, class and method that a project may use comes from.
origins = {{}}
for name, module in sorted(sys.modules.items()):
    if name.split('.')[0] in ('mmengine', 'yapf') or name in (
            'torch', 'torch.serialization', 'torch.hub', 'torch.utils.data'):
        for key, value in sorted(vars(module).items()):
            if callable(value):
                origins[name + ':' + key] = origin(value)
                if isinstance(value, type) and value.__module__.startswith('mmengine'):
                    for part, method in vars(value).items():
                        origins[name + ':' + key + '.' + part] = origin(
                            getattr(method, '__func__', method))
found['origins'] = origins
found['loaders'] = {{scheme: origin(loader) for scheme, loader in
                     CheckpointLoader._schemes.items() if scheme != 'imagenet://'}}
found['safe globals'] = sorted(map(str, torch.serialization.get_safe_globals()))
found['environment'] = sorted(name for name in os.environ if 'TORCH' in name)

# Registries.
found['names'] = [str(MODELS.get('Net')), str(CHILD.get('Small')),
                  str(MODELS.get('guest_of_host.Small')), str(ROOT.get('host.Net')),
                  str(MODELS.get('Linear')), len(MODELS), len(CHILD)]
try:
    MODELS.build(dict(type='Nothing'))
except KeyError as error:
    found['names'].append(str(error))

# A training in the scope of the host.
cfg = Config(dict(
    model=dict(type='Net'), default_scope='host', work_dir='work',
    train_dataloader=dict(dataset=[dict(inputs=torch.full((3,), float(i)))
                                   for i in range(6)],
                          batch_size=2, sampler=dict(type='DefaultSampler')),
    train_cfg=dict(by_epoch=True, max_epochs=2), randomness=dict(seed=1),
    optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
    log_level='ERROR'))
settings = Config(dict(model=dict(type='Net'), path='long/' * 40, sizes=[1, 2]))
found['config'] = settings.pretty_text
runner = Runner.from_cfg(cfg)
runner.train()
found['weights'] = runner.model.layer.weight.tolist()
found['hooks'] = [type(hook).__module__ + type(hook).__name__ for hook in runner.hooks]
found['files'] = sorted(name for name in os.listdir('work')
                        if name.endswith('.pth'))

# Its checkpoints of old, which hold an object, as mmengine and torch read them.
content = dict(state_dict=Net().state_dict(), vocabulary=Vocabulary(['a']))
torch.save(content, 'old.pth')
for forced in ('0', '1'):
    os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = forced
    for read in (CheckpointLoader.load_checkpoint, torch.load,
                 lambda path: load_checkpoint(Net(), path),
                 lambda path: torch.hub.load_state_dict_from_url(
                     'file://' + os.path.abspath(path), progress=False),
                 lambda path: mmengine.runner.checkpoint.load_url(
                     'file://' + os.path.abspath(path), progress=False)):
        try:
            outcome = read('old.pth')['vocabulary'].words
        except Exception as error:
            outcome = type(error).__name__ + str(error)
        found.setdefault('old checkpoint', []).append(outcome)
print(json.dumps(found))
'''


def behaviour(nest, folder, imports):
    """What the host project finds, in a process of its own."""
    package = folder / 'host'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text('')
    (package / 'registry.py').write_text(REGISTRY)
    (package / 'models.py').write_text(MODELS)
    (folder / 'use.py').write_text(textwrap.dedent(USE.format(imports=imports)))
    done = nest.run(folder / 'use.py', cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def alone(bare_nest, tmp_path_factory):
    return behaviour(bare_nest, tmp_path_factory.mktemp('alone'), False)


def test_the_host_itself(alone):
    """Its observations are of a project that works, so that they can differ."""
    assert len(alone['origins']) > 2000
    assert alone['files'] == ['epoch_1.pth', 'epoch_2.pth']
    outcomes = alone['old checkpoint']
    assert outcomes[3:5] == [['a']] * 2  # downloads are unpickled whole
    assert outcomes[5:7] == [['a']] * 2  # and so are files, if a user says so
    assert all('UnpicklingError' in outcome for outcome in outcomes[:3])


def test_no_difference(alone, bare_nest, tmp_path):
    found = behaviour(bare_nest, tmp_path, True)
    for key, expected in alone.items():
        if key != 'origins':
            assert found[key] == expected, key
    differing = {name: (origin, found['origins'].get(name))
                 for name, origin in alone['origins'].items()
                 if found['origins'].get(name) != origin}
    assert not differing


# What a host with classes of our names registers, before or after our import, and what
# it then finds; the names that only we have are found as everywhere.
NAMESAKES = """
import sys
import torch
from mmengine.registry import HOOKS, MODELS, Registry
ours = {{name: 'cosam_mm.' + name for name in ('I3D', 'COSAM', 'BERTHead')}}
scope = Registry('model', parent=MODELS, scope='host')

def register():
    for name in ('I3D', 'COSAM'):
        MODELS.register_module(name=name, module=type(name, (), dict(is_host=True)))
    HOOKS.register_module(name='NaNLossHook', module=dict)

{order}
assert MODELS.get('Nothing') is scope.get('Nothing') is None
MODELS.register_module(name='Late', module=list)
assert MODELS.get('Late') is scope.get('Late') is list
assert HOOKS.get('NaNLossHook') is dict and HOOKS.get('MeanLossHook') is not None
for registry in (MODELS, scope):
    assert registry.get('I3D').is_host and registry.get('COSAM').is_host
    assert registry.get('ResNeXt3D').__module__.startswith('cosam_mm.')
    for name, kind in ours.items() if {mmaction} else list(ours.items())[:2]:
        found = registry.get(kind)
        assert (found.__module__.split('.')[0], found.__name__) == ('cosam_mm', name)
cfg = dict(in_channels=8, num_frames=2, spatial_size=2)
assert type(MODELS.build(dict(cfg, type='cosam_mm.COSAM'))).__name__ == 'COSAM'
"""
ORDERS = {'before': 'register()\nimport cosam_mm',
          'after': 'import cosam_mm\nregister()',
          'after lookups': "import cosam_mm\nassert MODELS.get('I3D')\nregister()"}


@pytest.mark.parametrize('order', ORDERS)
def test_classes_of_the_same_name_are_the_host_s(run_python, order):
    status, _, err = run_python(NAMESAKES.format(order=ORDERS[order], mmaction=True))
    assert status == 0, err


def test_a_host_without_mmaction_has_its_own_names(bare_nest, tmp_path):
    (tmp_path / 'use.py').write_text(
        NAMESAKES.format(order=ORDERS['before'], mmaction=False))
    done = bare_nest.run(tmp_path / 'use.py', cwd=tmp_path)
    assert done.returncode == 0, done.stderr


WITHOUT_MMACTION = """
import importlib.util, runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mmaction':
            raise ModuleNotFoundError(name, name='mmaction')
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: (
    None if name == 'mmaction' else find_spec(name, *args))
sys.meta_path.insert(0, Absent())
sys.argv[:] = [{tool!r}, *{arguments!r}]
runpy.run_path({tool!r}, run_name='__main__')
"""


@pytest.mark.parametrize('arguments', [
    ('train.py', '{config}'), ('test.py', '{config}', 'x.pth'),
    ('demo.py', 'x.pth', 'x.avi'), ('analysis_tools/get_flops.py', '{config}')])
def test_tools_without_mmaction_say_what_to_install(
        bare_nest, repo, tmp_path, arguments):
    config = repo / 'configs' / 'resnext14_bert_demo.py'
    for name in ('x.pth', 'x.avi'):
        (tmp_path / name).touch()
    tool, *others = (one.format(config=config) for one in arguments)
    done = bare_nest.run_code(WITHOUT_MMACTION.format(
        tool=str(repo / 'tools' / tool), arguments=others), tmp_path)
    assert done.returncode == 2, done.stderr
    assert "pip install 'cosam_mm[action]'" in done.stderr


def test_lookups_of_the_host_import_nothing(run_python):
    """Modules of the package are imported for names that nobody else has."""
    status, out, err = run_python('''
        import sys, cosam_mm
        from mmengine.registry import MODELS
        MODELS.register_module(name='Own', module=dict)
        assert MODELS.build(dict(type='Own', a=1)) == dict(a=1)
        print('cosam_mm.layers' in sys.modules)
    ''')
    assert (status, out) == (0, 'False'), err


def test_names_added_to_mmaction_are_found_by_its_scope(run_python):
    """And a namesake registered there later is no error, and is what is found."""
    status, _, err = run_python('''
        import cosam_mm
        from mmaction.registry import METRICS, MODELS, TRANSFORMS
        for registry, name in ((MODELS, 'LSTMHead'), (METRICS, 'ActionMetric'),
                               (TRANSFORMS, 'SafeDecordInit')):
            for kind in (f'mmaction.{name}', name):
                assert registry.get(kind).__module__.startswith('cosam_mm.'), kind
            registry.register_module(name=name, module=dict)
            assert registry.get(name) is registry.get(f'mmaction.{name}') is dict
            assert registry.get(f'cosam_mm.{name}') is not dict
        assert MODELS.get('mmaction.Nothing') is None
    ''')
    assert status == 0, err


def test_a_file_does_not_build_classes_of_the_host(run_python):
    """Ours is built where a stranger's config means it, else there is an error."""
    status, _, err = run_python('''
        import cosam_mm
        from mmengine.registry import MODELS, Registry
        from cosam_mm.utils.config_of_checkpoint import config_of_checkpoint as read
        for kind in ('COSAM', 'cosam_mm.COSAM', 'ResNet'):
            assert read(f"a = dict(type={kind!r})").a.type == kind.split('.')[-1]
        for name in ('COSAM', 'ResNet'):
            @MODELS.register_module(name=name)
            class Own:
                def __init__(self, **kwargs):
                    raise SystemExit('the class of the host was built')
        for kind in ('COSAM', 'cosam_mm.COSAM'):
            cosam = read(f"a = dict(type={kind!r}, in_channels=8, num_frames=2, "
                         "spatial_size=2)").a
            assert type(MODELS.build(cosam)).__module__.startswith('cosam_mm.')
        try:
            MODELS.build(read("a = dict(type='ResNet', depth=18)").a)
        except ValueError as error:
            assert '__main__' in str(error), error
        else:
            raise AssertionError('ResNet was built')
        # In its own scope, the name is not the host's.
        config = read("a = dict(type='ResNet', depth=18)\\ndefault_scope = 'mmaction'")
        assert config.a.type == 'ResNet' and type(config.a.type) is str
    ''')
    assert status == 0, err


@pytest.mark.parametrize('opted_out', ['0', '1'])
def test_work_arounds_can_be_left_out(run_python, opted_out):
    """Then the packages behave as without us; what we register is still found."""
    status, out, err = run_python(f'''
        import os, sys
        os.environ['COSAM_MM_NO_COMPAT'] = {opted_out!r}
        import cosam_mm
        from mmengine.registry import MODELS
        from mmengine.runner import CheckpointLoader
        assert MODELS.get('COSAM') is MODELS.get('cosam_mm.COSAM') is not None
        print(CheckpointLoader._get_checkpoint_loader('imagenet://resnet50').__name__)
        from importlib.util import find_spec
        sys.path[:] = []  # it may be installed
        print(find_spec('importlib_metadata') is not None)
    ''')
    assert (status, out.split()) == (0, ['load_imagenet', str(opted_out == '0')]), err
