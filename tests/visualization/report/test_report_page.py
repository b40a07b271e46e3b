"""The report's HTML, read by a parser: its text, its structure and what it may load."""
import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosam_mm.visualization import style
from cosam_mm.visualization.report import page as page_module
from cosam_mm.visualization.report.content import (
    Clip,
    Facts,
    Gallery,
    Picture,
    Report,
    Section,
    Table,
    Text,
)
from cosam_mm.visualization.report.page import part_sizes, render_page
from tests.report_content import HOSTILE, every_block, hostile, photograph, plot, rows

# Enough of a video for a page that nobody plays.
CLIP = b'\0\0\0\x18ftypmp42' + bytes(9000)
VOID = {'area', 'base', 'br', 'col', 'hr', 'img', 'input', 'link', 'meta', 'wbr'}
FOLDER = Path(page_module.__file__).parent


class Page(HTMLParser):
    """Elements with their attributes and texts; complains of crossed tags."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else '', data))

    def all(self, tag, **attributes):
        return [own for name, own in self.elements if name == tag
                and attributes.items() <= own.items()]

    def text_of(self, tag):
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope='module')
def text():
    return render_page(every_block(CLIP))


@pytest.fixture(scope='module')
def parsed(text):
    return Page(text)


def simple(*blocks):
    return Report('t', '', [], [Section('a', 'A', '', blocks)])


# -- structure -----------------------------------------------------------------------


def test_sections_are_linked_from_the_navigation(parsed):
    links = [own['href'][1:] for own in parsed.all('a') if 'class' not in own]
    assert links == ['summary', 'training', 'clips', 'masks']
    assert [own['id'] for own in parsed.all('section')] == links
    assert parsed.text_of('h1') == ['resnext101_', 'cosam_', 'bert_', 'hmdb51']
    assert '77.5 %' in parsed.text_of('dd')
    assert parsed.text_of('dd')[-2:] == ['0.500', '\N{EN DASH}']


def test_ids_occur_once_and_references_lead_somewhere(parsed):
    ids = [own['id'] for _, own in parsed.elements if 'id' in own]
    assert len(ids) == len(set(ids))
    assert sum(name.startswith('f1-') for name in ids) > 5
    for _, own in parsed.elements:
        for name in ('aria-labelledby', 'for'):
            assert own.get(name, ids[0]) in ids
        assert own.get('href', '#').lstrip('#') in (*ids, '', 'data:,')


def test_what_cannot_be_shown_is_said(parsed):
    said = ''.join(text for _, text in parsed.texts)
    assert 'Not shown: the channel masks.' in said
    assert 'COSAM has none.' in said
    assert 'python tools/x.py' in parsed.text_of('code')


def test_pictures_and_clips(parsed):
    assert len(parsed.all('svg', role='img')) == 2
    assert parsed.all('svg')[0]['aria-label'] == 'A line that falls'
    assert [(own['alt'], own['width'], own['height']) for own in parsed.all('img')] == [
        ('Stripes', '60', '40'), ('More stripes', '100', '20')]
    (video,) = parsed.all('video')
    assert {'controls', 'loop', 'muted', 'playsinline'} <= set(video)
    assert 'autoplay' not in video
    assert base64.b64decode(video['src'].partition('base64,')[2]) == CLIP
    assert video['poster'].startswith('data:image/png;base64,')
    labels = [own['aria-label'] for own in parsed.all('button', type='button')
              if own.get('class') == 'enlarge']
    assert labels == ['Enlarge: Loss', 'Enlarge: Again', 'Enlarge: Frame',
                      'Enlarge: Wide']


def test_cells_carry_the_numbers_that_they_round():
    table = Table('t', ('a', 'b'), [
        [0.123456, 'x'], [None, '1.5'], [float('nan'), float('-inf')], [7, 0.1 + 0.2]])
    cells = Page(render_page(simple(table)))
    assert [own.get('data-v') for own in cells.all('td')] == [
        '0.123456', None, '', None, 'NaN', '-Infinity', '7.0', '0.30000000000000004']
    assert cells.text_of('td') == ['0.123', 'x', '\N{EN DASH}', '1.5', 'nan', '-inf',
                                   '7', '0.300']
    assert [own.get('class') for own in cells.all('th')] == ['number', None]


@pytest.mark.parametrize(('count', 'has_filter', 'has_note'), [
    (0, False, False), (1, False, False), (8, True, False), (60, True, False),
    (61, True, True)])
def test_tables_of_any_length(count, has_filter, has_note):
    table = Table('t', ('a', 'b', 'c', 'd'), rows(count))
    text = render_page(simple(table))
    parsed = Page(text)
    assert len(parsed.all('tr')) == count + 1
    assert bool(parsed.all('input')) == has_filter
    assert ('of those chosen; the page has 61' in text) == has_note
    assert f'{count} row{"s" * (count != 1)}' in parsed.text_of('p')


@pytest.mark.parametrize(('items', 'shape'), [
    ([(312, 1462)] * 2, 'wide'), ([(96, 521)] * 2, 'strip'), ([(72, 96)], 'even'),
    ([(256, 128)], 'tall'), ([], 'even')])
def test_columns_of_a_gallery_fit_its_pictures(items, shape):
    gallery = Gallery([Picture('p', photograph(*size), '') for size in items], 'g')
    assert f'class="gallery {shape}"' in render_page(simple(gallery))


def test_a_report_of_nothing():
    parsed = Page(render_page(Report('t', '', [], [])))
    assert parsed.text_of('h1') == ['t']
    assert parsed.all('section') == []


# -- what others wrote ----------------------------------------------------------------


def own_elements(report):
    """Elements apart from those that stand for the text itself, and their names."""
    parsed = Page(render_page(report))
    return [(tag, sorted(own)) for tag, own in parsed.elements if tag != 'wbr'], parsed


PLAIN, _ = own_elements(hostile('word', CLIP))
TEXTS = st.text(st.characters(blacklist_categories=('Cs', 'Cc')), min_size=1,
                max_size=12)


MARKED = {('td', 'class'), ('div', 'class')}


def check(text):
    elements, parsed = own_elements(hostile(text, CLIP))
    # Long cells and facts are marked, which the plain text has none of.
    assert [(tag, [a for a in names if (tag, a) not in MARKED])
            for tag, names in elements] == [
                (tag, [a for a in names if (tag, a) not in MARKED])
                for tag, names in PLAIN]
    assert text in parsed.text_of('h2')
    assert text in parsed.text_of('td')
    assert parsed.text_of('script') == [(FOLDER / 'page.js').read_text()]
    assert parsed.text_of('style') == [(FOLDER / 'page.css').read_text()]
    assert {own['alt'] for own in parsed.all('img')} == {text}
    assert text in {own.get('aria-label') for own in parsed.all('video')}


@pytest.mark.parametrize('text', HOSTILE)
def test_names_that_look_like_markup_are_text(text):
    check(text)


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_any_text_is_text(text):
    check(text)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([
    '<', '>', '"', "'", '&', '</', 'script', '!--', '=', ' ', '{{', '}}', '{%', '\\',
    '`', 'onload', ';']), min_size=1, max_size=9).map(''.join))
def test_any_markup_is_text(text):
    check(text)


# -- what it may load ---------------------------------------------------------------


def policy(parsed):
    (own,) = [own for own in parsed.all('meta')
              if own.get('http-equiv') == 'Content-Security-Policy']
    return dict(part.strip().split(' ', 1) for part in own['content'].split(';'))


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_policy_forbids_all_but_what_the_page_holds(parsed):
    (script,), (sheet,) = parsed.text_of('script'), parsed.text_of('style')
    assert policy(parsed) == {
        'default-src': "'none'", 'img-src': 'data:', 'media-src': 'data:',
        'style-src': "'unsafe-inline'", 'style-src-elem': f"'sha256-{digest(sheet)}'",
        'style-src-attr': "'unsafe-inline'", 'script-src': f"'sha256-{digest(script)}'",
        'base-uri': "'none'", 'form-action': "'none'"}


def test_nothing_is_loaded(parsed, text):
    for _, own in parsed.elements:
        for name in ('src', 'href', 'poster', 'srcset', 'action', 'data'):
            assert own.get(name, '#').startswith(('#', 'data:'))
    assert 'http://' not in text.replace('xmlns="http://www.w3.org/2000/svg"', '')
    assert 'https://' not in text
    assert '@import' not in text
    assert 'url(' not in (FOLDER / 'page.css').read_text()


def test_script_can_stand_in_a_page():
    script = (FOLDER / 'page.js').read_text()
    assert '</script' not in script.lower()
    assert '<!--' not in script
    for unsafe in ('innerHTML', 'outerHTML', 'insertAdjacentHTML', 'eval(',
                   'document.write'):
        assert unsafe not in script


def test_colours_are_those_of_the_figures():
    sheet = (FOLDER / 'page.css').read_text()
    found = dict(re.findall(r'--([\w-]+): (?:light-dark\()?(#\w{6})', sheet))
    assert (found['ink'], found['lines']) == (style.INK, style.LINES)
    assert (found['blue-mark'], found['amber-mark']) == (style.BLUE, style.AMBER)


def test_the_same_report_gives_the_same_page(text):
    assert render_page(every_block(CLIP)) == text


# -- refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(('keys', 'message'), [
    (['a', 'b', 'a'], "Two sections have the key 'a'"),
    (['a b'], "letters, digits and hyphens, .*, got 'a b'"),
    (['page-main'], "got 'page-main'"),
])
def test_keys_are_anchors(keys, message):
    report = Report('t', '', [], [Section(key, key) for key in keys])
    with pytest.raises(ValueError, match=message):
        render_page(report)


@pytest.mark.parametrize(('block', 'message'), [
    (Picture('p', b'GIF89a', ''), "'p' is neither a PNG, nor a JPEG, nor a WebP"),
    (Picture('p', photograph()[:20], ''), "'p' is a damaged PNG file"),
    (Picture('p', '<b/>', ''), 'must be an <svg> element, got <b>'),
    (Clip('c', b'RIFF....AVI ', ''), "'c' is no MP4 file: it begins with b'RIFF"),
])
def test_pictures_and_clips_of_other_kinds(block, message):
    with pytest.raises(ValueError, match=message):
        render_page(simple(block))


def test_blocks_of_other_types():
    with pytest.raises(TypeError, match='no blocks of type str'):
        render_page(simple('text'))


# -- size ---------------------------------------------------------------------------


def test_sizes_of_parts_are_those_in_the_page():
    empty = len(render_page(simple()).encode())
    for block in (Picture('p', photograph(200, 300), ''), Clip('p', CLIP, ''),
                  Table('p', ('a', 'b', 'c', 'd'), rows(500)),
                  Picture('p', plot(), '')):
        (part,) = part_sizes(simple(Text('x'), Gallery([block])))
        assert part.title == 'p'
        added = len(render_page(simple(block)).encode()) - empty
        # A figure loses line breaks and metadata on its way.
        assert part.size == pytest.approx(added, rel=.15, abs=1500)


def test_the_biggest_part_comes_first():
    parts = part_sizes(every_block(CLIP))
    assert parts[0].title in ('Loss', 'Again', 'Walk')
    assert [part.size for part in parts] == sorted(
        (part.size for part in parts), reverse=True)
    assert {part.title for part in parts} == {
        'Loss', 'Again', 'Frame', 'Every clip', 'Two', 'Walk', 'Wide'}
    assert part_sizes(simple(Facts([('a', 1)]))) == []


def test_thousands_of_rows_stay_small():
    text = render_page(simple(Table('t', ('a', 'b', 'c', 'd'), rows(4000))))
    assert len(text) < 700_000
