"""The report in a real browser, opened from disk: Chromium without a window."""
import re
import shutil
from dataclasses import replace

import pytest

from cosam_mm.visualization.report.page import Report, render_page
from tests.report_content import (
    HOSTILE,
    every_block,
    hostile,
    read_image,
    rows,
    simple,
    table,
    video,
)

playwright = pytest.importorskip('playwright.sync_api')
pytest.importorskip('av')

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
         '--autoplay-policy=no-user-gesture-required']
PHONE = dict(width=360, height=740)
COUNT = 3000
LIGHT, DARK = 'rgb(246, 247, 249)', 'rgb(20, 23, 29)'

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
    const colours = [parse(getComputedStyle(element).color), behind(element)];
    const [a, b] = colours.map(light).sort((x, y) => y - x);
    found.push([walker.currentNode.textContent.trim(), (a + 0.05) / (b + 0.05)]);
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
    """A page of a report; leaving it fails if anything went wrong on it."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.problems, self.requests, self.url = [], [], path.as_uri()
        self.page.on('console', lambda message: self.problems.append(message.text))
        self.page.on('pageerror', lambda error: self.problems.append(str(error)))
        self.page.on('dialog', lambda dialog: self.problems.append(dialog.message))
        self.page.on('request', lambda request: self.requests.append(request.url))
        self.page.goto(self.url)

    def __enter__(self):
        return self.page

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert self.problems == []
            loaded = {url for url in self.requests if not url.startswith('data:')}
            assert {url.partition('#')[0] for url in loaded} == {self.url}


@pytest.fixture
def visit(browser, report_file, tmp_path):
    """Open the report, or another one: ``with visit() as page``."""
    def open_page(report=None, **context):
        path = report_file
        if report is not None:
            path = tmp_path / 'other.html'
            path.write_text(render_page(report), encoding='utf-8')
        return Visit(browser, path, **context)
    return open_page


def wait_until(page, expression):
    """Wait; Playwright's own way evaluates texts in the page, which is forbidden."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f'never: {expression}')


def column(page, number):
    """Texts in a column of the first table, the first column being 1."""
    return page.locator('.table').first.locator(
        f'tbody tr:not([hidden]) td:nth-child({number})').all_inner_texts()


def background(page):
    return page.evaluate('getComputedStyle(document.body).backgroundColor')


def colours(page):
    """Those of the first plot: its panel, and its darkest and lightest pixel."""
    image, _ = read_image(page.locator('.image').first.screenshot())
    return tuple(image[8, -8]), image.mean(axis=2).min(), image.mean(axis=2).max()


# -- loading -------------------------------------------------------------------------


def test_opens_from_disk_without_a_word_on_the_console(visit):
    with visit() as page:
        assert page.title() == 'resnext101_cosam_bert_hmdb51'
        # The policy has let the style sheet, the script and the plots through.
        assert page.locator('#page-theme').is_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('.headline dd'))"
                             ".fontWeight") == '650'
        assert page.evaluate('[...document.images].every((i) => i.naturalWidth > 0)')


def test_hostile_names_do_nothing(visit, clip):
    sections = [replace(section, key=f's{k}') for k, text in enumerate(HOSTILE)
                for section in hostile(text, clip).sections]
    with visit(Report(HOSTILE[0], HOSTILE[1], [], sections)) as page:
        assert page.title() == HOSTILE[0]
        for k, text in enumerate(HOSTILE):
            section = page.locator(f'#s{k}')
            assert section.locator('h2').inner_text() == text.strip()
            assert section.locator('dd').first.text_content() == text
            section.locator('.enlarge').first.click()
            assert page.locator('#page-dialog-title').text_content() == text
            page.keyboard.press('Escape')
        assert page.evaluate("""[...document.querySelectorAll('*')].flatMap(
            (one) => [...one.attributes]).filter((one) => one.name.startsWith('on')
            || /^(href|src)$/.test(one.name) && /^ *javascript:/.test(one.value))
            .length""") == 0


def test_policy_stops_scripts_and_requests(browser, tmp_path, clip):
    path = tmp_path / 'changed.html'
    path.write_text(render_page(every_block(clip)).replace('<main', (
        '<script>document.title = "ran"</script>'
        '<img src="https://example.invalid/a.png"><main'), 1), encoding='utf-8')
    opened = Visit(browser, path)
    assert opened.page.title() != 'ran'
    assert opened.page.evaluate("fetch('https://example.invalid').then(() => 'loaded', "
                                "() => 'refused')") == 'refused'
    assert sum('Content Security Policy' in text for text in opened.problems) >= 3
    opened.context.close()


# -- tables --------------------------------------------------------------------------


def test_tables_are_sorted_by_click_and_keyboard(visit):
    with visit() as page:
        heads = page.locator('.table').first.locator('th')
        head, before = heads.nth(2), column(page, 3)
        head.get_by_role('button').click()
        assert head.get_attribute('aria-sort') == 'ascending'
        values = column(page, 3)
        numbers = [float(value) for value in values[:27]]
        assert numbers == sorted(numbers)
        assert values[27:] == ['\N{EN DASH}'] * 3
        head.get_by_role('button').press('Enter')
        assert head.get_attribute('aria-sort') == 'descending'
        assert [float(value) for value in column(page, 3)[:27]] == numbers[::-1]
        assert column(page, 3)[27:] == ['\N{EN DASH}'] * 3
        head.get_by_role('button').press('Space')
        assert head.get_attribute('aria-sort') == 'none'
        assert column(page, 3) == before
        # Words as words, with their numbers; one column at a time.
        heads.nth(1).get_by_role('button').click()
        assert column(page, 2) == ['Jump'] * 10 + ['run'] * 10 + ['walk'] * 10
        heads.nth(0).get_by_role('button').click()
        assert column(page, 1)[:11] == [f'clip {at}' for at in range(11)]
        assert [heads.nth(at).get_attribute('aria-sort') for at in range(4)] == [
            'ascending', 'none', 'none', 'none']


def test_rows_are_filtered_by_all_words(visit):
    with visit() as page:
        box, count = page.get_by_role('searchbox'), page.get_by_role('status').first
        assert count.inner_text() == '30 rows'
        box.fill('RUN 1')
        expected = [row[0] for row in rows(30) if row[1] == 'run' and any(
            '1' in text for text in (row[0], f'{row[2] or 0:.3f}', str(row[3])))]
        assert 0 < len(expected) < 10
        assert column(page, 1) == expected
        assert count.inner_text() == f'{len(expected)} of 30 rows'
        # Words do not reach from one cell into the next.
        box.fill('walk0')
        assert column(page, 1) == []
        page.locator('.table').first.locator('button').nth(3).click()
        box.fill('')
        assert len(column(page, 1)) == 30


def test_thousands_of_rows_are_fast_and_the_first_are_printed(visit):
    with visit(simple(table(COUNT))) as page:
        seconds = page.evaluate("""() => {
          const timed = (act) => {
            const start = performance.now();
            act();
            document.body.offsetHeight;
            return (performance.now() - start) / 1000;
          };
          const buttons = document.querySelectorAll('th button');
          const input = document.querySelector('input');
          return [timed(() => buttons[2].click()), timed(() => buttons[2].click()),
            timed(() => buttons[2].click()), timed(() => { input.value = 'run';
                          input.dispatchEvent(new Event('input')); })];
        }""")
        # Far above what it takes, so that a busy machine does not fail it.
        assert max(seconds) < 3
        assert not page.locator('.print-note').is_visible()
        page.emulate_media(media='print')
        printed = page.locator('tbody tr').evaluate_all(
            '(rows) => rows.filter((row) => row.checkVisibility())'
            '.map((row) => row.cells[0].textContent)')
        assert printed == [row[0] for row in rows(COUNT) if row[1] == 'run'][:60]
        assert page.locator('.print-note').is_visible()


# -- plots and clips -----------------------------------------------------------------


def test_plot_is_enlarged_by_mouse(visit):
    with visit(viewport=dict(width=1280, height=800)) as page:
        dialog, plot = page.locator('dialog'), page.locator('.image').first
        before = plot.locator('img').bounding_box()
        height = plot.bounding_box()['height']
        plot.get_by_role('button').click()
        assert dialog.get_by_role('heading').inner_text() == 'Loss'
        enlarged = dialog.locator('img').bounding_box()
        assert enlarged['width'] > before['width']
        assert enlarged['width'] / enlarged['height'] == pytest.approx(2.5, rel=.01)
        assert enlarged['y'] + enlarged['height'] <= 800
        assert plot.bounding_box()['height'] == height  # no hole is left
        full = dialog.get_by_role('button', name='Full size')
        full.click()
        assert full.get_attribute('aria-pressed') == 'true'
        assert dialog.locator('img').bounding_box()['width'] == 1404
        full.click()
        assert dialog.locator('img').bounding_box() == enlarged
        dialog.get_by_role('button', name='Close').click()
        assert not dialog.is_visible()
        assert plot.locator('img').bounding_box()['width'] == before['width']
        plot.get_by_role('button').click()
        page.mouse.click(5, 5)
        assert not dialog.is_visible()


def test_plot_is_enlarged_by_keyboard(visit):
    with visit() as page:
        dialog, button = page.locator('dialog'), page.locator('.enlarge').nth(2)
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


def test_clip_plays_in_sight_and_pauses_out_of_it(visit):
    with visit() as page:
        clip = page.locator('video')
        assert clip.evaluate('(video) => video.paused && video.muted && video.loop')
        clip.scroll_into_view_if_needed()
        wait_until(page, "document.querySelector('video').currentTime > .2")
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
        page.locator('video').scroll_into_view_if_needed()
        page.wait_for_timeout(200)
        assert page.locator('video').evaluate('(video) => video.paused')
        page.locator('video').evaluate('(video) => video.play()')
        wait_until(page, "document.querySelector('video').currentTime > .1")


# -- light, dark, small and printed --------------------------------------------------


@pytest.mark.parametrize(('system', 'first', 'second'), [
    ('light', LIGHT, DARK), ('dark', DARK, LIGHT)])
def test_theme_follows_the_system_until_the_switch_is_used(visit, system, first,
                                                          second):
    with visit(color_scheme=system) as page:
        button, looks = page.get_by_role('button', name='Dark'), {}
        looks[background(page)] = colours(page)
        assert background(page) == first
        assert button.get_attribute('aria-pressed') == str(first == DARK).lower()
        button.press('Enter')
        looks[background(page)] = colours(page)
        assert background(page) == second
        assert button.get_attribute('aria-pressed') == str(second == DARK).lower()
        page.reload()
        assert background(page) == second
        page.emulate_media(color_scheme='dark' if system == 'light' else 'light')
        assert background(page) == second
        page.locator('#page-theme').click()
        assert background(page) == first
        # Plots have the colours of the page: dark ink on white, light ink on dark.
        (panel, darkest, _), (dark_panel, _, lightest) = looks[LIGHT], looks[DARK]
        assert (panel, dark_panel) == ((255, 255, 255), (28, 32, 40))
        assert darkest < 60
        assert lightest > 200


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_has_contrast(visit, scheme):
    with visit(color_scheme=scheme) as page:
        found = page.evaluate(CONTRASTS)
        assert {'Summary', 'Loss', '77.5 %', 'Not shown: the channel masks.',
                'python tools/x.py'} <= {text for text, _ in found}
        assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


@pytest.mark.parametrize('text', [None, 'x' * 300, 'a_' * 150])
def test_no_sideways_scrolling_on_a_phone(visit, clip, text):
    with visit(text and hostile(text, clip), viewport=PHONE) as page:
        assert page.evaluate('document.documentElement.scrollWidth') == 360
        if text is None:  # wide things scroll by themselves
            assert page.locator('.box').first.evaluate(
                '(box) => box.scrollWidth > box.clientWidth')
        assert page.locator('.canvas').first.evaluate(
            '(canvas) => canvas.scrollWidth > canvas.clientWidth')
        page.locator('.enlarge').first.click()
        page.get_by_role('button', name='Full size').click()
        assert page.locator('.stage').evaluate(
            '(stage) => stage.scrollWidth > 1000 && stage.clientWidth === 360')


def test_keyboard_and_navigation(visit):
    with visit(permissions=['clipboard-read', 'clipboard-write']) as page:
        page.keyboard.press('Tab')
        skip = page.locator(':focus')
        assert skip.inner_text() == 'Skip to the report'
        wait_until(page, "document.activeElement.getBoundingClientRect().top > 0")
        assert skip.evaluate('(link) => getComputedStyle(link).outlineStyle') == 'solid'
        page.keyboard.press('Enter')
        assert page.evaluate('document.activeElement.id') == 'page-main'
        page.get_by_role('link', name='Masks').click()
        wait_until(page, "document.querySelector('nav [aria-current]').textContent"
                   " === 'Masks'")
        assert page.url.endswith('#masks')
        button = page.get_by_role('button', name='Copy')
        button.click()
        wait_until(page, "/Copied|Selected/.test(document.querySelector('.copy')"
                   ".textContent)")
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
        assert colours(page)[1] < 60
        data = page.pdf()
        assert data.startswith(b'%PDF')
        assert 1 < len(re.findall(rb'/Type\s*/Page\b', data)) < 9
