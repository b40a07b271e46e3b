"""Reports to test with, and what a reader of a page finds in it."""
import base64
import contextlib
import io
import shutil
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cosam_mm.visualization.report import page
from cosam_mm.visualization.report.page import Report, Section
from cosam_mm.visualization.report.report_builder import build_report
from cosam_mm.visualization.style import encode_image, new_figure, style

HOSTILE = ('<script>alert(1)</script>', '</script><b>', '"\'><img src=x onerror=x()>',
           '{{ 7 * 7 }} {% raw %}', '<!-- ]]> &lt;', 'javascript:alert(1)',
           'naïve \u202e')
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
VOID = {'area', 'base', 'br', 'col', 'hr', 'img', 'input', 'link', 'meta', 'wbr'}


# -- reading a page --------------------------------------------------------------------


class _TreeParser(HTMLParser):
    """Builds a tree; refuses crossed tags."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.builder, self.open = ElementTree.TreeBuilder(), []

    def handle_starttag(self, tag, attrs):
        self.builder.start(tag, {name: value or '' for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.builder.end(tag)

    def handle_data(self, data):
        self.builder.data(data)


def parse_page(text):
    """The root element of an HTML page."""
    parser = _TreeParser()
    parser.feed(text.partition('<!DOCTYPE html>')[2].strip())
    parser.close()
    assert parser.open == []
    return parser.builder.close()


def text_of(element):
    """All text in an element; '' of None."""
    return '' if element is None else ''.join(element.itertext()).strip()


class View:
    """What stands in a section of a page, or in all of it."""

    def __init__(self, element):
        self.element = element

    def all(self, path):
        return [text_of(one) for one in self.element.findall(f'.//{path}')]

    @property
    def facts(self):
        return {text_of(row.find('dt')): text_of(row.find('dd'))
                for row in self.element.findall(".//dl[@class='facts']/div")}

    @property
    def tables(self):
        """Title -> rows of texts."""
        return {text_of(table.find('.//h3')): [
            [text_of(cell) for cell in row] for row in table.findall('.//tbody/tr')]
            for table in self.element.findall(".//div[@class='table']")}

    @property
    def images(self):
        """Title -> (alternative text, caption, bytes) of plots and images."""
        return {text_of(image.find('h3')): (
            image.find('.//img').get('alt'), text_of(image.find('figcaption')),
            decode(image.find('.//img').get('src')))
            for image in self.element.findall(".//figure[@class='image']")}

    @property
    def missing(self):
        """What -> (why, how)."""
        return {text_of(note.find('p')).removeprefix('Not shown: ').rstrip('.'): (
            text_of(note.findall('p')[1]), text_of(note.find('.//code')))
            for note in self.element.findall(".//div[@class='missing']")}


def decode(uri):
    """The bytes of a ``data:`` address."""
    return base64.b64decode(uri.partition('base64,')[2])


def read_image(data):
    """(H, W, 3) of an image file, and its format."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert('RGB'), float), image.format


def sections_of(root, num_samples=2, with_masks=False, **options):
    """Title -> view of the sections of a folder's report."""
    tree = parse_page(page.render_page(build_report(
        root, num_samples, with_masks, progress=False, **options)))
    return {text_of(one.find('h2')): View(one) for one in tree.iter('section')}


@contextlib.contextmanager
def open_browser():
    """Chromium without a window; tests are skipped where there is none."""
    playwright = pytest.importorskip('playwright.sync_api')
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f'none of the browsers {BROWSERS} is installed')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=[
            '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
            '--autoplay-policy=no-user-gesture-required'])
        yield browser
        browser.close()


# -- reports ---------------------------------------------------------------------------


def plot(title='Loss', values=(1, 3, 2), label='loss', caption=''):
    """A plot block: matplotlib gives the same ids to all of them."""
    with style():
        figure = new_figure(7.5, 3)
        axes = figure.subplots()
        axes.plot(values, label=label)
        axes.legend()
    return page.plot(title, figure, f'{title}: a line', caption)


def photograph(height=40, width=60):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, ::4] = 200
    return encode_image(image, 'png')


def rows(count):
    """Numbers in no order, some of them missing, and words."""
    return [[f'clip {number}', ('walk', 'run', 'Jump')[number % 3],
             None if number % 10 == 9 else (number * 37 % 101) / 8, number - 5]
            for number in range(count)]


def table(count):
    return page.table('Every clip', ('clip', 'class', 'score', 'number'), rows(count),
                      'Sorted by nothing.')


def simple(*blocks):
    return Report('t', '', [], [Section('a', 'A', '', blocks)])


def every_block(clip):
    """A report with every kind of block; ``clip`` are the bytes of a video."""
    moving = page.clip('Walk', clip, 'A mask', 'After layer3.', poster=photograph())
    wide = page.image('Wide', photograph(20, 100), 'More stripes')
    sections = dict(
        summary=[page.text('A word on it.'),
                 page.facts([('Epochs', 30), ('Loss', 0.5), ('x', None)]),
                 page.code('Again', 'python tools/report.py work_dirs/demo')],
        training=[plot('Loss', caption='Of each epoch.'), plot('Again', (3, 1, 2)),
                  page.image('Frame', photograph(), 'Stripes')],
        clips=[table(30), page.table('Two', ('a', 'b'), [[1, 'x'], [2, 'y']])],
        masks=[page.gallery([moving, wide], 'All'), page.missing(
            'the channel masks', 'COSAM has none.', 'python tools/x.py')])
    return Report(
        'resnext101_cosam_bert_hmdb51', 'Action recognition on hmdb51, split 1',
        [('Top-1 accuracy', '77.5 %'), ('Top-3 accuracy', '92.6 %')],
        [Section(key, key.capitalize(), f'All {key}.', blocks)
         for key, blocks in sections.items()])


def hostile(text, clip):
    """A report in which every text is ``text``."""
    image = page.image(text, photograph(), text, text)
    return Report(text, text, [(text, text)], [Section('one', text, text, [
        page.text(text), page.facts([(text, text)]), page.code(text, text),
        page.missing(text, text, text), plot(text, label=text[:30], caption=text),
        image, page.clip(text, clip, text, text, poster=photograph()),
        page.gallery([image], text),
        page.table(text, (text, 'b'), [[text, 1], [text * 9, None]] * 5, text)])])
