"""The report in a real browser, opened from disk: Chromium without a window."""
import re
import shutil

import pytest

from cosam_mm.visualization.report.content import Report, Section, Table
from cosam_mm.visualization.report.page import render_page
from tests.report_content import HOSTILE, every_block, hostile, rows, video

playwright = pytest.importorskip('playwright.sync_api')
pytest.importorskip('av')

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
         '--autoplay-policy=no-user-gesture-required']
PHONE = dict(width=360, height=740)
COUNT = 4000

# Contrast of each text with what lies behind it, as WCAG 2 computes it.
CONTRASTS = """() => {
  const channel = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255)
    + 0.0722 * channel(b / 255);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const own = element.ownerSVGElement && style.fill.startsWith('rgb')
      ? style.fill : style.color;
    const [a, b] = [light(parse(own)), light(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.textContent.trim()]);
  }
  return found;
}"""


@pytest.fixture(scope='module')
def browser():
    """One browser for all tests of the file."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f'none of the browsers {NAMES} is installed')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def clip():
    return video()


@pytest.fixture(scope='module')
def report_file(tmp_path_factory, clip):
    path = tmp_path_factory.mktemp('report') / 'a report (1).html'
    path.write_text(render_page(every_block(clip)), encoding='utf-8')
    return path


class Visit:
    """A page of a report, and all that goes wrong on it."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.problems, self.requests = [], []
        self.page.on('console', lambda message: self.problems.append(message.text))
        self.page.on('pageerror', lambda error: self.problems.append(str(error)))
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def __enter__(self):
        return self.page

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert self.problems == []
            loaded = {url for url in self.requests if not url.startswith('data:')}
            assert {url.partition('#')[0] for url in loaded} == {self.url}
            assert self.url.startswith('file://')


@pytest.fixture
def visit(browser, report_file):
    """Open the report, or another file: ``with visit() as page``."""
    return lambda path=report_file, **context: Visit(browser, path, **context)


def wait_until(page, expression):
    """Wait; Playwright's own way evaluates texts in the page, which is forbidden."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f'never: {expression}')


def column(page, number, table='.table >> nth=0'):
    cells = page.locator(f'{table} >> tbody tr:not([hidden]) td:nth-child({number})')
    return cells.all_inner_texts()


def matching(cells, *words):
    """First cells of the rows in which each word stands in some cell as shown."""
    show = Table('', (), ()).show
    return [row[0] for row in cells if all(
        any(word in show(cell).lower() for cell in row) for word in words)]


# -- it opens ------------------------------------------------------------------------


def test_opens_from_disk_without_a_word_on_the_console(visit):
    with visit() as page:
        assert page.title() == 'resnext101_cosam_bert_hmdb51'
        assert page.locator('section').count() == 4
        # The policy has let the style sheet and the script through.
        assert page.locator('#page-theme').is_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('.headline dd'))"
                             ".fontWeight") == '650'
        assert page.evaluate('[...document.images].every((i) => i.naturalWidth > 0)')


@pytest.mark.parametrize('text', HOSTILE)
def test_hostile_names_do_nothing(visit, tmp_path, clip, text):
    path = tmp_path / 'hostile.html'
    path.write_text(render_page(hostile(text, clip)), encoding='utf-8')
    dialogs = []
    with visit(path) as page:
        page.on('dialog', lambda dialog: dialogs.append(dialog.dismiss()))
        assert page.locator('h2').first.inner_text() == text.strip()
        assert page.locator('dd').first.text_content() == text
        page.locator('.enlarge').first.click()
        assert page.locator('#page-dialog-title').text_content() == text
    assert dialogs == []


def test_policy_stops_scripts_and_requests(browser, tmp_path, clip):
    text = render_page(every_block(clip)).replace('<main', (
        '<script>document.title = "ran"</script>'
        '<img src="https://example.invalid/a.png"><main'), 1)
    path = tmp_path / 'changed.html'
    path.write_text(text, encoding='utf-8')
    opened = Visit(browser, path)
    finished = []
    opened.page.on('requestfinished', lambda request: finished.append(request.url))
    assert opened.page.title() != 'ran'
    assert opened.page.evaluate(
        "fetch('https://example.invalid').then(() => 'loaded', () => 'refused')"
    ) == 'refused'
    assert [url for url in finished if url.startswith('http')] == []
    assert len([text for text in opened.problems
                if 'Content Security Policy' in text]) >= 3
    opened.context.close()


# -- tables --------------------------------------------------------------------------


def test_numbers_are_sorted_as_numbers(visit):
    with visit() as page:
        head = page.locator('.table >> nth=0 >> th >> nth=2')
        before = column(page, 3)
        assert before[:3] == ['0.000', '4.625', '9.250']
        head.get_by_role('button').click()
        assert head.get_attribute('aria-sort') == 'ascending'
        values = column(page, 3)
        numbers = [float(value) for value in values[:27]]
        assert numbers == sorted(numbers)
        assert min(numbers) < 1 < 10 < max(numbers)
        assert values[27:] == ['\N{EN DASH}'] * 3
        head.get_by_role('button').press('Enter')
        assert head.get_attribute('aria-sort') == 'descending'
        values = column(page, 3)
        assert [float(value) for value in values[:27]] == numbers[::-1]
        assert values[27:] == ['\N{EN DASH}'] * 3
        head.get_by_role('button').press('Space')
        assert head.get_attribute('aria-sort') == 'none'
        assert column(page, 3) == before


def test_one_column_sorts_at_a_time_and_words_sort_as_words(visit):
    with visit() as page:
        heads = page.locator('.table >> nth=0 >> th')
        heads.nth(3).get_by_role('button').click()
        assert column(page, 4)[:3] == ['-5', '-4', '-3']
        heads.nth(1).get_by_role('button').click()
        assert column(page, 2) == ['Jump'] * 10 + ['run'] * 10 + ['walk'] * 10
        assert [heads.nth(at).get_attribute('aria-sort') for at in range(4)] == [
            'none', 'ascending', 'none', 'none']
        heads.nth(0).get_by_role('button').click()
        assert column(page, 1)[:11] == [f'clip {at}' for at in range(11)]


def test_rows_are_filtered_by_all_words(visit):
    with visit() as page:
        box, count = page.get_by_role('searchbox'), page.get_by_role('status').first
        assert count.inner_text() == '30 rows'
        box.fill('RUN 1')
        shown = matching(rows(30), 'run', '1')
        assert 0 < len(shown) < 10
        assert column(page, 1) == shown
        assert count.inner_text() == f'{len(shown)} of 30 rows'
        # Words do not reach from one cell into the next.
        box.fill('walk0')
        assert column(page, 1) == []
        assert count.inner_text() == '0 of 30 rows'
        page.locator('.table >> nth=0 >> th >> nth=3').get_by_role('button').click()
        box.fill('')
        assert len(column(page, 1)) == 30


def test_thousands_of_rows_are_fast(visit, tmp_path):
    path = tmp_path / 'long.html'
    table = Table('t', ('clip', 'class', 'score', 'number'), rows(COUNT))
    path.write_text(render_page(Report('t', '', [], [Section('a', 'A', '', [table])])),
                    encoding='utf-8')
    with visit(path) as page:
        seconds = page.evaluate("""() => {
          const timed = (act) => {
            const start = performance.now();
            act();
            document.body.offsetHeight;
            return (performance.now() - start) / 1000;
          };
          const buttons = document.querySelectorAll('th button');
          const input = document.querySelector('input');
          return [timed(() => buttons[2].click()), timed(() => buttons[0].click()),
            timed(() => { input.value = 'run 39';
                          input.dispatchEvent(new Event('input')); })];
        }""")
        expected = matching(rows(COUNT), 'run', '39')
        assert page.get_by_role('status').inner_text() == (
            f'{len(expected)} of 4000 rows')
        # Far above what it takes, so that a busy machine does not fail it.
        assert max(seconds) < 3


# -- figures -------------------------------------------------------------------------


def test_figure_is_enlarged_by_mouse(visit):
    with visit(viewport=dict(width=1280, height=800)) as page:
        dialog, figure = page.locator('dialog'), page.locator('.picture >> nth=0')
        width = figure.locator('svg').bounding_box()['width']
        height = figure.bounding_box()['height']
        assert not dialog.is_visible()
        figure.get_by_role('button').click()
        assert dialog.is_visible()
        assert dialog.get_by_role('heading').inner_text() == 'Loss'
        enlarged = dialog.locator('svg').bounding_box()
        assert enlarged['width'] > width
        assert enlarged['y'] + enlarged['height'] <= 800
        # It has not left a hole.
        assert figure.bounding_box()['height'] == height
        full = dialog.get_by_role('button', name='Full size')
        full.click()
        assert full.get_attribute('aria-pressed') == 'true'
        assert dialog.locator('svg').bounding_box()['width'] == 1404
        full.click()
        assert dialog.locator('svg').bounding_box() == enlarged
        dialog.get_by_role('button', name='Close').click()
        assert not dialog.is_visible()
        assert figure.locator('svg').bounding_box()['width'] == width
        figure.get_by_role('button').click()
        page.mouse.click(5, 5)
        assert not dialog.is_visible()


def test_figure_is_enlarged_by_keyboard(visit):
    with visit() as page:
        dialog, button = page.locator('dialog'), page.locator('.enlarge >> nth=2')
        button.focus()
        page.keyboard.press('Enter')
        assert dialog.get_by_role('img').get_attribute('alt') == 'Stripes'
        # What is behind cannot be reached.
        for _ in range(6):
            page.keyboard.press('Tab')
            assert page.evaluate("document.activeElement === document.body || "
                                 "!!document.activeElement.closest('dialog')")
        page.keyboard.press('Escape')
        assert not dialog.is_visible()
        assert button.evaluate('(button) => button === document.activeElement')
        assert button.locator('img').count() == 1


def test_ids_stay_unique_while_a_figure_is_enlarged(visit):
    with visit() as page:
        page.locator('.enlarge').first.click()
        assert page.evaluate("""() => {
          const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
          return ids.length - new Set(ids).size; }""") == 0


# -- clips ---------------------------------------------------------------------------


def test_clip_plays_in_sight_and_pauses_out_of_it(visit):
    with visit() as page:
        clip = page.locator('video')
        assert clip.evaluate('(video) => video.paused && video.muted && video.loop')
        clip.scroll_into_view_if_needed()
        wait_until(page, "document.querySelector('video').currentTime > .2")
        assert clip.evaluate('(video) => video.readyState') >= 3
        assert clip.evaluate('(video) => video.videoWidth') == 64
        page.evaluate('scrollTo(0, 0)')
        wait_until(page, "document.querySelector('video').paused")
        clip.scroll_into_view_if_needed()
        wait_until(page, "!document.querySelector('video').paused")
        # One that the reader stopped stays still.
        clip.evaluate('(video) => video.pause()')
        page.evaluate('scrollTo(0, 0)')
        page.wait_for_timeout(100)
        clip.scroll_into_view_if_needed()
        page.wait_for_timeout(200)
        assert clip.evaluate('(video) => video.paused')


def test_clip_waits_for_a_reader_who_wants_no_motion(visit):
    with visit(reduced_motion='reduce') as page:
        clip = page.locator('video')
        clip.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        assert clip.evaluate('(video) => video.paused')
        clip.evaluate('(video) => video.play()')
        wait_until(page, "document.querySelector('video').currentTime > .1")


# -- light, dark, small and printed -------------------------------------------------


def background(page):
    return page.evaluate('getComputedStyle(document.body).backgroundColor')


LIGHT, DARK = 'rgb(246, 247, 249)', 'rgb(20, 23, 29)'


@pytest.mark.parametrize(('system', 'first', 'second'), [
    ('light', LIGHT, DARK), ('dark', DARK, LIGHT)])
def test_theme_follows_the_system_until_the_switch_is_used(visit, system, first,
                                                          second):
    with visit(color_scheme=system) as page:
        button = page.get_by_role('button', name='Dark')
        assert background(page) == first
        assert button.get_attribute('aria-pressed') == str(first == DARK).lower()
        button.press('Enter')
        assert background(page) == second
        assert button.get_attribute('aria-pressed') == str(second == DARK).lower()
        page.reload()
        assert background(page) == second
        page.emulate_media(color_scheme='dark' if system == 'light' else 'light')
        assert background(page) == second
        page.locator('#page-theme').click()
        assert background(page) == first


def test_figures_have_the_colours_of_the_page(visit):
    with visit(color_scheme='dark') as page:
        assert page.locator('svg text').first.evaluate(
            '(text) => getComputedStyle(text).fill') == 'rgb(228, 231, 238)'


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_has_contrast(visit, scheme):
    with visit(color_scheme=scheme) as page:
        found = page.evaluate(CONTRASTS)
        texts = {text for _, text in found}
        assert {'Summary', 'Loss', '77.5 %', 'Not shown: the channel masks.',
                'python tools/x.py'} <= texts
        assert [(text, ratio) for ratio, text in found if ratio < 4.5] == []


def test_no_sideways_scrolling_on_a_phone(visit):
    with visit(viewport=PHONE) as page:
        assert page.evaluate('document.documentElement.scrollWidth') == 360
        page.evaluate('scrollBy(200, 0)')
        assert page.evaluate('scrollX') == 0
        # Wide things scroll by themselves.
        assert page.locator('.box').first.evaluate(
            '(box) => box.scrollWidth > box.clientWidth')
        assert page.locator('.canvas').first.evaluate(
            '(canvas) => canvas.scrollWidth > canvas.clientWidth')
        page.locator('.enlarge').first.click()
        page.get_by_role('button', name='Full size').click()
        assert page.locator('.stage').evaluate(
            '(stage) => stage.scrollWidth > 1000 && stage.clientWidth === 360')


@pytest.mark.parametrize('text', ['x' * 300, 'a_' * 150])
def test_long_names_do_not_widen_a_phone_s_page(visit, tmp_path, clip, text):
    path = tmp_path / 'long.html'
    path.write_text(render_page(hostile(text, clip)), encoding='utf-8')
    with visit(path, viewport=PHONE) as page:
        assert page.evaluate('document.documentElement.scrollWidth') == 360


def test_keyboard_reaches_the_report_and_its_focus_is_seen(visit):
    with visit() as page:
        page.keyboard.press('Tab')
        skip = page.locator(':focus')
        assert skip.inner_text() == 'Skip to the report'
        wait_until(page, "document.activeElement.getBoundingClientRect().top > 0")
        assert skip.evaluate('(link) => getComputedStyle(link).outlineStyle') == 'solid'
        page.keyboard.press('Enter')
        assert page.evaluate('document.activeElement.id') == 'page-main'


def test_navigation_tells_where_one_is(visit):
    with visit() as page:
        page.get_by_role('link', name='Masks').click()
        wait_until(page, "document.querySelector('nav [aria-current]').textContent"
                   " === 'Masks'")
        assert page.url.endswith('#masks')


def test_commands_can_be_copied(visit):
    with visit(permissions=['clipboard-read', 'clipboard-write']) as page:
        button = page.get_by_role('button', name='Copy')
        button.click()
        wait_until(page, "/Copied|Selected/.test(document.querySelector('.copy')"
                               '.textContent)')
        if button.inner_text() == 'Selected':
            assert page.evaluate('String(getSelection())').strip() == (
                'python tools/report.py work_dirs/demo')


def test_prints_in_light_without_controls(visit):
    with visit(color_scheme='dark') as page:
        page.emulate_media(media='print')
        assert page.locator('h1').evaluate('(h) => getComputedStyle(h).color') == (
            'rgb(31, 36, 48)')
        for control in ('nav', '#page-theme', '.filter', '.copy', '.skip'):
            assert not page.locator(control).first.is_visible()
        assert page.locator('.box').first.evaluate(
            '(box) => box.scrollHeight <= box.clientHeight + 1')
        data = page.pdf()
        assert data.startswith(b'%PDF')
        assert 1 < len(re.findall(rb'/Type\s*/Page\b', data)) < 9


def test_long_tables_print_their_first_rows(visit, tmp_path):
    path = tmp_path / 'long.html'
    table = Table('t', ('clip', 'class', 'score', 'number'), rows(200))
    path.write_text(render_page(Report('t', '', [], [Section('a', 'A', '', [table])])),
                    encoding='utf-8')
    with visit(path) as page:
        assert not page.locator('.print-note').is_visible()
        page.locator('input').fill('run')
        page.emulate_media(media='print')
        seen = page.locator('tbody tr').evaluate_all(
            '(rows) => rows.filter((row) => row.checkVisibility())'
            '.map((row) => row.cells[0].textContent)')
        assert seen == [row[0] for row in rows(200) if row[1] == 'run'][:60]
        assert page.locator('.print-note').is_visible()
