"""The section on the training: numbers of its blocks, and what it says is missing."""
from pathlib import Path

import pytest

from cosam_mm.visualization.report.content import Facts, Gallery, Missing, Table
from cosam_mm.visualization.report.training_section import build_section
from cosam_mm.visualization.report.work_dir import ReportOptions, WorkDir
from tests.training_logs import epochs, train_line, val_line, write_log


def section_of(root, logs):
    return build_section(WorkDir(Path(root), training_logs=tuple(logs)),
                         ReportOptions())


def blocks_of(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def test_facts_curves_and_table(tmp_path):
    logs = [write_log(tmp_path / 'run', '20260101_000000', epochs(1, 3)),
            write_log(tmp_path / 'run', '20260102_000000', epochs(3, 4, loss=0.25))]
    section = section_of(tmp_path, logs)
    facts, = blocks_of(section, Facts)
    assert facts.rows == (
        ('training', f'{tmp_path.name}/run'), ('epochs', '4'), ('iterations', '40'),
        ('time in iterations', '0 min 20 s'), ('resumed', 'once'),
        ('last training loss', 0.25), ('best acc/top1', '0.0400, epoch 4'))
    gallery, = blocks_of(section, Gallery)
    assert [picture.title for picture in gallery.items] == [
        'Training loss', 'Validation', 'Learning rate', 'Time of an iteration, s']
    assert all(picture.data.startswith('<svg') for picture in gallery.items)
    assert gallery.items[1].alt == 'Validation over epochs: acc/top1: 4.0 % at 4'
    table, = blocks_of(section, Table)
    assert table.columns == ['epoch', 'acc/top1']
    assert table.rows == [[1, 0.01], [2, 0.02], [3, 0.03], [4, 0.04]]
    assert blocks_of(section, Missing) == []
    assert section == section_of(tmp_path, logs)


def test_trainings_of_several_splits(tmp_path):
    logs = [write_log(tmp_path / f'split{k}', '20260101_000000', epochs(1, k))
            for k in (1, 2)]
    section = section_of(tmp_path, logs)
    assert len(blocks_of(section, Facts)) == len(blocks_of(section, Table)) == 2
    gallery, = blocks_of(section, Gallery)
    assert f'{tmp_path.name}/split2: 2.0 % at 2' in gallery.items[1].alt


def test_training_that_counts_iterations(tmp_path):
    log = write_log(tmp_path, '20260101_000000', [
        train_line(None, 2000), val_line(2000, 0.5)])
    section = section_of(tmp_path, [log])
    rows = dict(blocks_of(section, Facts)[0].rows)
    assert 'epochs' not in rows
    assert rows['iterations'] == '2,000'
    assert rows['best acc/top1'] == '0.5000, iteration 2,000'
    assert blocks_of(section, Table)[0].rows == [[2000, 0.5]]


def test_no_log(tmp_path):
    missing, = section_of(tmp_path, []).blocks
    assert missing == Missing(
        'the training curves', f'no scalars.json lies below {tmp_path}',
        'Give the folder that holds the --work-dir of tools/train.py.')


def test_damaged_logs_are_named_and_the_rest_is_shown(tmp_path):
    good = write_log(tmp_path / 'good', '20260101_000000',
                     [*epochs(1, 2), *['?'] * 9, '{"step'], end='')
    bad = write_log(tmp_path / 'bad', '20260101_000000', ['nothing'])
    section = section_of(tmp_path, [good, bad, tmp_path / 'gone' / 'scalars.json'])
    assert len(blocks_of(section, Gallery)) == 1
    found = {block.what.rsplit('/', 1)[-1]: block.why
             for block in blocks_of(section, Missing)}
    assert set(found) == {'good', 'bad', 'gone'}
    assert found['good'].startswith(f"{good}, line 9: '?' is no JSON; ")
    assert found['good'].endswith('; and 5 more')
    assert "line 1: 'nothing' is no JSON" in found['bad']
    assert 'No such file' in found['gone']


def test_nothing_but_damage(tmp_path):
    bad = write_log(tmp_path, '20260101_000000', ['nothing'])
    section = section_of(tmp_path, [bad])
    assert [type(block) for block in section.blocks] == [Missing]


@pytest.mark.parametrize('lines', [
    [train_line(1, 10)], [train_line(1, 10, loss=None), val_line(1, None)],
    ['{"iter": 1, "step": 1}'], ['{"$<b>": 1, "iter": 1, "epoch": 1, "step": 1}']])
def test_hardly_anything_logged(tmp_path, lines):
    section = section_of(tmp_path, [write_log(tmp_path, '20260101_000000', lines)])
    assert blocks_of(section, Facts)
