"""``tools/report.py`` as a process."""
import pytest

from tests.work_dir_data import damage_work_dir, write_work_dir

TOOL = 'tools/report.py'


@pytest.fixture
def root(tmp_path):
    return write_work_dir(tmp_path / 'demo')


def test_writes_the_file_and_says_what_is_missing(nest, root, tmp_path):
    done = nest.run(TOOL, 'demo', '--no-masks', '--title', 'A <b>title</b>',
                    '--samples', 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (root / 'report.html').read_text(encoding='utf-8')
    assert 'demo/report.html' in done.stdout.splitlines()[-1]
    assert '<title>A &lt;b&gt;title&lt;/b&gt;</title>' in text
    assert 'Top-1 accuracy' in text
    said = [line for line in done.stdout.splitlines() if line.startswith('not shown: ')]
    assert len(said) == text.count('Not shown: ')


def test_damaged_files_yield_a_report_that_says_so(nest, tmp_path):
    root = damage_work_dir(tmp_path / 'x', tmp_path / 'proof')
    done = nest.run(TOOL, root, '--out', 'new/a.html', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'not shown: what scores.npz holds: ' in done.stdout
    assert 'not shown: the checkpoint: ' in done.stdout
    assert (tmp_path / 'new' / 'a.html').is_file()
    assert not (root / 'report.html').exists()
    assert not (tmp_path / 'proof').exists()


@pytest.mark.parametrize(('arguments', 'word'), [
    (['gone'], 'folder gone'), (['.'], 'Nothing below'),
    (['demo', '--checkpoint', 'x.pth'], 'x.pth'),
    (['demo', '--data-root', 'x'], 'folder x'), (['demo', '--out', 'a.pdf'], 'a.pdf'),
    (['demo', '--samples', '0'], '--samples')])
def test_mistakes_are_said_in_a_line(nest, tmp_path, arguments, word):
    if arguments[0] == 'demo':
        write_work_dir(tmp_path / 'demo')
    done = nest.run(TOOL, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr
    assert 'Traceback' not in done.stderr
    assert list(tmp_path.rglob('*.html')) == []
