"""The report in a real browser, opened from disk: Chromium without a window."""
import contextlib

import numpy as np
import pytest

from cosam_mm.visualization.report.page import render_page
from cosam_mm.visualization.video_writer import encode_video
from tests.report_content import (
    every_block,
    hostile,
    open_browser,
    read_image,
    rows,
    simple,
    table,
)

pytest.importorskip('av')

PHONE = dict(width=360, height=740)


@pytest.fixture(scope='module')
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope='module')
def clip():
    """Two seconds of MP4."""
    return encode_video((np.full((48, 64, 3), 10 * value, np.uint8)
                         for value in range(20)), fps=10)


@pytest.fixture(scope='module')
def report_file(tmp_path_factory, clip):
    path = tmp_path_factory.mktemp('report') / 'a report (1).html'
    path.write_text(render_page(every_block(clip)), encoding='utf-8')
    return path


@pytest.fixture
def visit(browser, report_file, tmp_path):
    """Opens the report, or another one; fails if anything went wrong on its page."""
    @contextlib.contextmanager
    def open_page(report=None, **context):
        path = report_file
        if report is not None:
            path = tmp_path / 'other.html'
            path.write_text(render_page(report), encoding='utf-8')
        page, problems, requests = browser.new_page(**context), [], []
        page.on('console', lambda message: problems.append(message.text))
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.on('dialog', lambda dialog: problems.append(dialog.message))
        page.on('request', lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        yield page
        page.close()
        assert problems == []
        assert {url.partition('#')[0] for url in requests
                if not url.startswith('data:')} == {path.as_uri()}
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


def looks(page):
    """Colour of the page, and darkest and lightest pixel of the first plot."""
    plot, _ = read_image(page.locator('.image').first.screenshot())
    shown, _ = read_image(page.screenshot())
    return tuple(shown[2, 2]), plot.mean(axis=2).min(), plot.mean(axis=2).max()


# -- loading -------------------------------------------------------------------------


def test_opens_from_disk_without_a_word_on_the_console(visit):
    with visit() as page:
        assert page.title() == 'resnext101_cosam_bert_hmdb51'
        # The policy has let the style sheet, the script and the plots through.
        assert page.locator('#page-theme').is_visible()
        assert page.evaluate("getComputedStyle(document.querySelector('.headline dd'))"
                             ".fontWeight") == '650'
        assert page.evaluate('[...document.images].every((i) => i.naturalWidth > 0)')


def test_policy_stops_scripts_and_requests(browser, tmp_path, report_file):
    path, problems = tmp_path / 'changed.html', []
    path.write_text(report_file.read_text(encoding='utf-8').replace('<main', (
        '<script>document.title = "ran"</script>'
        '<img src="https://example.invalid/a.png"><main'), 1), encoding='utf-8')
    page = browser.new_page()
    page.on('console', lambda message: problems.append(message.text))
    page.goto(path.as_uri())
    assert page.title() != 'ran'
    assert page.evaluate("fetch('https://example.invalid').then(() => 'loaded', "
                         "() => 'refused')") == 'refused'
    assert sum('Content Security Policy' in text for text in problems) >= 3
    page.close()


# -- tables --------------------------------------------------------------------------


def test_tables_are_sorted_by_click_and_keyboard(visit):
    with visit() as page:
        heads = page.locator('.table').first.locator('th')
        head, before = heads.nth(2), column(page, 3)
        head.get_by_role('button').click()
        assert head.get_attribute('aria-sort') == 'ascending'
        *numbers, _, _, _ = column(page, 3)
        assert list(map(float, numbers)) == sorted(map(float, numbers))
        head.get_by_role('button').press('Enter')
        assert head.get_attribute('aria-sort') == 'descending'
        # What is missing stays last.
        assert column(page, 3) == numbers[::-1] + ['\N{EN DASH}'] * 3
        head.get_by_role('button').press('Space')
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
        texts = page.locator('.table').first.locator('tbody tr').evaluate_all(
            '(rows) => rows.map((row) => [row.hidden, row.textContent])')
        assert all(hidden != ('run' in text and '1' in text) for hidden, text in texts)
        assert count.inner_text() == f'{len(column(page, 1))} of 30 rows'
        # Words do not reach from one cell into the next.
        box.fill('walk0')
        assert column(page, 1) == []
        box.fill('')
        assert len(column(page, 1)) == 30


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
        dialog.get_by_role('button', name='Full size').click()
        assert dialog.locator('img').bounding_box()['width'] == 1404
        dialog.locator('.stage').dblclick()
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
        for _ in range(6):  # what is behind cannot be reached
            page.keyboard.press('Tab')
            assert page.evaluate("document.activeElement === document.body || "
                                 "!!document.activeElement.closest('dialog')")
        page.keyboard.press('Escape')
        assert not dialog.is_visible()
        assert button.evaluate('(button) => button === document.activeElement')
        assert button.locator('img').count() == 1


def test_clip_plays_in_sight_unless_the_reader_wants_no_motion(visit):
    with visit() as page:
        clip = page.locator('video')
        assert clip.evaluate('(video) => video.paused && video.muted && video.loop')
        clip.scroll_into_view_if_needed()
        wait_until(page, "document.querySelector('video').currentTime > .2")
        page.evaluate('scrollTo(0, 0)')
        wait_until(page, "document.querySelector('video').paused")
        clip.scroll_into_view_if_needed()
        wait_until(page, "!document.querySelector('video').paused")
        # One that the reader stopped stays still.
        clip.evaluate('(video) => video.pause()')
        page.evaluate('scrollTo(0, 0)')
        page.wait_for_timeout(100)
        clip.scroll_into_view_if_needed()
        page.wait_for_timeout(150)
        assert clip.evaluate('(video) => video.paused')
    with visit(reduced_motion='reduce') as page:
        page.locator('video').scroll_into_view_if_needed()
        page.wait_for_timeout(150)
        assert page.locator('video').evaluate('(video) => video.paused')


# -- light, dark, small and printed --------------------------------------------------


@pytest.mark.parametrize(('system', 'other'), [('light', 'dark'), ('dark', 'light')])
def test_theme_follows_the_system_until_the_switch_is_used(visit, system, other):
    with visit(color_scheme=system) as page:
        button, seen = page.get_by_role('button', name='Dark'), {system: looks(page)}
        assert button.get_attribute('aria-pressed') == str(system == 'dark').lower()
        button.press('Enter')
        seen[other] = looks(page)
        assert button.get_attribute('aria-pressed') == str(other == 'dark').lower()
        page.reload()
        page.emulate_media(color_scheme=other)
        assert looks(page) == seen[other]
        page.locator('#page-theme').click()
        assert looks(page)[0] == seen[system][0]
        # Plots have the colours of the page: dark ink on white, light ink on dark.
        (light, ink, paper), (dark, ground, pale) = seen['light'], seen['dark']
        assert (light, dark, paper) == ((246, 247, 249), (20, 23, 29), 255)
        assert ink < 60
        assert ground < 40 < 200 < pale


@pytest.mark.parametrize('text', [None, 'x' * 300, 'a_' * 150])
def test_no_sideways_scrolling_on_a_phone(visit, clip, text):
    with visit(text and hostile(text, clip), viewport=PHONE) as page:
        assert page.evaluate('document.documentElement.scrollWidth') == 360
        assert page.locator('.canvas').first.evaluate(  # wide things scroll themselves
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
        assert skip.evaluate('(link) => getComputedStyle(link).outlineStyle') == 'solid'
        page.keyboard.press('Enter')
        assert page.evaluate('document.activeElement.id') == 'page-main'
        page.get_by_role('link', name='Masks').click()
        wait_until(page, "document.querySelector('nav [aria-current]').textContent"
                   " === 'Masks'")
        assert page.url.endswith('#masks')
        page.get_by_role('button', name='Copy').click()
        wait_until(page, "/Copied|Selected/.test(document.querySelector('.copy')"
                   ".textContent)")


def test_prints_in_light_the_first_rows_and_no_controls(visit):
    with visit(simple(table(200)), color_scheme='dark') as page:
        page.locator('input').fill('run')
        page.emulate_media(media='print')
        assert page.locator('h1').evaluate('(h) => getComputedStyle(h).color') == (
            'rgb(31, 36, 48)')
        for control in ('nav', '#page-theme', '.filter', '.skip'):
            assert not page.locator(control).first.is_visible()
        printed = page.locator('tbody tr').evaluate_all(
            '(rows) => rows.filter((row) => row.checkVisibility())'
            '.map((row) => row.cells[0].textContent)')
        assert printed == [row[0] for row in rows(200) if row[1] == 'run'][:60]
        assert page.locator('.print-note').is_visible()
