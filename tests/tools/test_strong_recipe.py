"""The demo config with averaged weights and blended batches, trained and resumed."""
import re

import pytest
import torch

from cosam_mm.utils.io import read_checkpoint
from projects.fault_injection.training import differences_in_weights, read_result
from tests.tools.conftest import TINY


@pytest.fixture(scope='module')
def strong_config(repo, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'strong.py'
    path.write_text(TINY.format(
        base=str(repo / 'configs' / 'resnext14_cosam_bert_demo_strong.py')))
    return path


@pytest.fixture(scope='module')
def trained_strong(nest, strong_config, demo_root, tmp_path_factory):
    """(log, work dir) of two epochs."""
    work_dir = tmp_path_factory.mktemp('strong') / 'straight'
    done = nest.ok('tools/train.py', strong_config, '--data-root', demo_root,
                   '--seed', 0, '--work-dir', work_dir, cwd=work_dir.parent)
    return done.stdout, work_dir


def figures(log):
    """Of the last validation or test."""
    return re.findall(r'Epoch\((?:val|test)\).*?acc/top1: (\S+).*acc/cross_entropy: '
                      r'(\S+)', log)[-1]


def load(path):
    return read_checkpoint(path)


def test_a_checkpoint_holds_the_average_and_what_is_averaged(trained_strong):
    checkpoint = load(trained_strong[1] / 'epoch_2.pth')
    average, raw = checkpoint['state_dict'], checkpoint['ema_state_dict']
    assert raw['steps'] == 4
    assert {f'module.{name}' for name in average} | {'steps'} == set(raw)
    differing = {name for name, value in average.items()
                 if not torch.equal(value, raw[f'module.{name}'])}
    assert any(name.endswith('running_mean') for name in differing)
    assert any('plugins' in name for name in differing)


def test_the_training_log_has_no_accuracy_of_blends(trained_strong):
    lines = [line for line in trained_strong[0].splitlines() if 'Epoch(train)' in line]
    assert len(lines) == 4
    assert all('loss: ' in line and 'top1_acc' not in line for line in lines)


def test_a_resumed_training_goes_on_bit_for_bit(
        nest, strong_config, demo_root, trained_strong, tmp_path):
    done = nest.ok('tools/train.py', strong_config, '--data-root', demo_root,
                   '--work-dir', tmp_path / 'resumed', '--resume',
                   trained_strong[1] / 'epoch_1.pth', cwd=tmp_path)
    assert 'resumed epoch: 1, iter: 2' in done.stdout
    ours, theirs = (read_result(path) for path in (
        tmp_path / 'resumed', trained_strong[1]))
    assert differences_in_weights(ours, theirs) == []
    assert ours.last['ema_state_dict']['steps'] == 4
    scores = [result.last['message_hub']['runtime_info']['best_score']
              for result in (ours, theirs)]
    assert scores[0] == scores[1]
    assert figures(done.stdout) == figures(trained_strong[0])


@pytest.mark.parametrize('options', [(), ('--fast',)])
def test_the_average_is_tested(nest, strong_config, demo_root, trained_strong, tmp_path,
                               options):
    """With the figures of its validation, though nothing is averaged here."""
    log, work_dir = trained_strong
    done = nest.ok('tools/test.py', strong_config, work_dir / 'epoch_2.pth',
                   '--data-root', demo_root, *options, cwd=tmp_path)
    tested = [float(figure) for figure in figures(done.stdout)]
    validated = [float(figure) for figure in figures(log)]
    assert tested == pytest.approx(validated, rel=0, abs=2e-2 if options else 1e-4)
    assert ('batch norms folded' in done.stdout) is bool(options)
