"""``tools/report.py`` as a process."""
import pytest

from tests.work_dir_data import damage_work_dir, write_work_dir

TOOL = 'tools/report.py'


@pytest.fixture
def root(tmp_path):
    return write_work_dir(tmp_path / 'demo')


def test_writes_the_file_and_says_what_is_missing(nest, root, tmp_path):
    done = nest.run(TOOL, 'demo', '--no-masks', '--title', 'A <b>title</b>',
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = root / 'report.html'
    size = path.stat().st_size
    assert done.stdout.splitlines()[-1] == (
        f'report       demo/report.html ({size / 1e6:.1f} MB)')
    text = path.read_text(encoding='utf-8')
    assert '<title>A &lt;b&gt;title&lt;/b&gt;</title>' in text
    assert 'Top-1 accuracy' in text
    said = [line for line in done.stdout.splitlines() if line.startswith('not shown: ')]
    assert len(said) == text.count('Not shown: ')
    assert [one.name for one in root.glob('*.partial')] == []


def test_another_file(nest, root, tmp_path):
    done = nest.run(TOOL, root, '--no-masks', '--out', 'new/a.html', '--samples', 1,
                    cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'new' / 'a.html').is_file()
    assert not (root / 'report.html').exists()


def test_damaged_files_yield_a_report_that_says_so(nest, tmp_path):
    root = damage_work_dir(tmp_path / 'x', tmp_path / 'proof')
    done = nest.run(TOOL, root, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'not shown: what scores.npz holds: ' in done.stdout
    assert 'not shown: the checkpoint: There is no checkpoint' in done.stdout
    assert (root / 'report.html').is_file()
    assert not (tmp_path / 'proof').exists()


@pytest.mark.parametrize(('arguments', 'message'), [
    (['gone'], 'error: There is no folder gone.'),
    (['.'], 'error: Nothing below . was written by a training or a test'),
    (['demo', '--checkpoint', 'x.pth'], 'error: There is no checkpoint file x.pth.'),
    (['demo', '--data-root', 'x'], 'error: There is no data set folder x.'),
    (['demo', '--samples', '0'], '--samples must be at least 1, got 0'),
    (['demo', '--out', 'a.pdf'], '--out writes an .html file, got a.pdf'),
])
def test_mistakes_are_said_in_a_line(nest, tmp_path, arguments, message):
    if arguments[0] == 'demo':
        write_work_dir(tmp_path / 'demo')
    done = nest.run(TOOL, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
    assert list(tmp_path.rglob('*.html')) == []
