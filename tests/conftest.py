"""Fixtures every test may use: where the optional reference material lies."""
import importlib.util
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

import cosam_mm  # noqa: F401  (registers the plugin before any test builds it)
from tests.tool_process import ToolNest

with suppress(ImportError):
    import av  # noqa: F401  (its encoders do not work if decord is imported before)

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / 'shared'


@pytest.fixture(scope='session')
def repo() -> Path:
    """Root of the checkout."""
    return REPO


@pytest.fixture(scope='session')
def golden_dir() -> Path:
    """Folder of reference values; tests that need it are skipped without."""
    path = SHARED / 'golden'
    if not path.is_dir():
        pytest.skip('reference values are not at hand')
    return path


@pytest.fixture(scope='session')
def real_data_dir() -> Path:
    """Folder of real clips and split lists; tests are skipped without."""
    path = SHARED / 'data'
    if not path.is_dir():
        pytest.skip('real clips are not at hand')
    return path


@pytest.fixture(scope='session')
def reference_fill(golden_dir):
    """The module that derives reference weights and inputs from names."""
    spec = importlib.util.spec_from_file_location('fill', golden_dir / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='session')
def nest():
    """Runs tools in processes that need not import everything first."""
    nest = ToolNest()
    yield nest
    nest.close()


@pytest.fixture
def clean_up_runs():
    """Small trainings leave no open files and no signal handlers."""
    numbers = signal.SIGINT, signal.SIGTERM
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers):  # trainings that fail leave theirs
        signal.signal(number, handler)
    for name in [name for name in MMLogger._instance_dict if 'small run ' in name]:
        for handler in MMLogger._instance_dict.pop(name).handlers:
            handler.close()


@pytest.fixture(scope='session')
def bare_nest():
    """Runs code in processes that have imported torch and mmengine alone."""
    nest = ToolNest(imports='mmengine')
    yield nest
    nest.close()


@pytest.fixture
def run_python(bare_nest, tmp_path):
    """Runs code in such a process: (exit status, stdout, stderr)."""

    def run(code: str) -> tuple[int, str, str]:
        done = bare_nest.run_code(code, tmp_path)
        return done.returncode, done.stdout.strip(), done.stderr

    return run
