"""``tools/report.py`` as a process."""
import pytest

from tests.work_dir_data import write_work_dir

TOOL = 'tools/report.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a work dir, 'demo'."""
    folder = tmp_path_factory.mktemp('report')
    write_work_dir(folder / 'demo')
    return folder


@pytest.mark.parametrize(('out', 'path'), [
    ([], 'demo/report.html'), (['--out', 'new/a.html'], 'new/a.html')])
def test_writes_the_file_and_says_what_is_missing(nest, folder, out, path):
    done = nest.ok(TOOL, 'demo', '--no-masks', '--title', 'A <b>title</b>',
                   '--samples', 1, *out, cwd=folder)
    text = (folder / path).read_text(encoding='utf-8')
    assert path in done.stdout.splitlines()[-1]
    assert '<title>A &lt;b&gt;title&lt;/b&gt;</title>' in text
    assert 'Top-1 accuracy' in text
    said = [line for line in done.stdout.splitlines() if line.startswith('not shown: ')]
    assert len(said) == text.count('Not shown: ')
