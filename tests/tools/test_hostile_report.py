"""Names that are HTML and script, from the files of a training to a browser.

Classes, clips, folders, configs, metrics and titles are what other people wrote.
"""
import json
import shutil

import numpy as np
import pytest

from tests.report_content import open_browser
from tests.work_dir_data import (
    TESTED,
    TRAINED,
    write_checkpoint,
    write_scores,
    write_work_dir,
)

RUN = 'window.pwned = (window.pwned || 0) + 1'
PAYLOADS = (
    f'<script>{RUN}</script>', f'<img src=x onerror="{RUN}">',
    f'"><svg onload={RUN.replace(" ", "")}>', f"' onmouseover='{RUN}",
    f'javascript:{RUN}', f'</script></style><script>{RUN}</script>', '<!--',
    '{{ 7 * 7 }}', f'<iframe srcdoc="<script>{RUN}</script>">',
    '$\\frac{1}{0}$ & \u202e<b>')


@pytest.fixture(scope='module')
def page(nest, tmp_path_factory):
    """The report of a folder in which every name is a payload: (file, done)."""
    parent = tmp_path_factory.mktemp('hostile')
    root = write_work_dir(parent / PAYLOADS[1].replace('/', '_'))
    count = len(PAYLOADS)
    write_scores(
        root / f'{PAYLOADS[3]}.npz', label=np.arange(3 * count) % count,
        score=np.random.default_rng(0).normal(size=(3 * count, count)),
        sample_id=[f'{PAYLOADS[k % count]}/{PAYLOADS[(k + 1) % count]} {k}'
                   for k in range(3 * count)], unreadable=np.arange(3 * count) == 5)
    (root / 'scores.npz').unlink()
    meta = dict(experiment_name=PAYLOADS[0], time=PAYLOADS[1], seed=PAYLOADS[2],
                dataset_meta=dict(dataset='demo', split=PAYLOADS[4], classes=PAYLOADS))
    for path in (root / 'run').glob('*.pth'):
        write_checkpoint(path, **meta)
    write_checkpoint(root / 'run' / f'best_{PAYLOADS[3]}_epoch_1.pth', **meta)
    (root / 'test' / TESTED / f'{TESTED}.json').write_text(json.dumps({
        'acc/top1': .5, f'acc/{PAYLOADS[0].replace(" ", "")}': 1.,
        'acc/word': PAYLOADS[5]}))
    logs = root / 'run' / TRAINED
    (logs / f'{TRAINED}.log').write_text(
        f'System environment:\n    Python: {PAYLOADS[0]}\n    GPU 0: {PAYLOADS[1]}\n')
    (logs / 'vis_data' / 'scalars.json').write_text(''.join(json.dumps(
        {'loss': 1. / k, PAYLOADS[0]: 1., f'acc/{PAYLOADS[5]}': .5, 'epoch': k,
         'iter': k, 'step': k}) + '\n' for k in range(1, 5)))
    config = (logs / 'vis_data' / 'config.py')
    config.write_text(config.read_text() + f'notes = {list(PAYLOADS)!r}\n'
                      f'experiment_name = {PAYLOADS[5]!r}\n')
    shutil.copy(config, root / 'run' / f'{PAYLOADS[7]} net.py')
    (root / f'{PAYLOADS[1].replace("/", "_")}.npz').write_bytes(b'damaged')
    done = nest.run('tools/report.py', root.name, '--no-masks', '--title', PAYLOADS[0],
                    cwd=parent)
    return root / 'report.html', done


def test_names_are_text(page):
    path, done = page
    assert done.returncode == 0, done.stderr
    text = path.read_text(encoding='utf-8')
    for payload in PAYLOADS:
        if payload.startswith('<') and payload != '<!--':
            assert payload not in text, payload
    assert '&lt;script&gt;window.pwned' in text  # they are shown
    assert '7 * 7' in text


def test_nothing_runs_in_a_browser(page):
    with open_browser() as browser:
        tab = browser.new_page(bypass_csp=True)  # escaping alone must do
        requests, errors = [], []
        tab.on('request', lambda request: requests.append(request.url))
        tab.on('pageerror', lambda error: errors.append(str(error)))
        tab.goto(page[0].as_uri())
        tab.wait_for_timeout(300)
        assert tab.evaluate('window.pwned') is None
        assert tab.title() == PAYLOADS[0]
        assert tab.evaluate(
            '[...document.querySelectorAll("*")].flatMap(e => [...e.attributes])'
            '.filter(a => a.name.startsWith("on") || /^ *javascript:/i.test(a.value))'
            '.map(a => a.name + "=" + a.value)') == []
        assert tab.locator('iframe, object, embed, base').count() == 0
        assert {url.partition(':')[0] for url in requests} <= {'file', 'data', 'blob'}
        assert errors == []
        for payload in PAYLOADS[:2]:
            assert tab.get_by_text(payload).count(), payload
