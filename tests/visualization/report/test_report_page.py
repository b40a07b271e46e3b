"""The report's HTML, read by a parser: its text, its structure and what it may load."""
import base64
import hashlib
import xml.etree.ElementTree as ElementTree

import pytest

from cosam_mm.visualization.report import page
from cosam_mm.visualization.report.page import Report, render_page
from cosam_mm.visualization.report.report_builder import size_advice
from tests.report_content import (
    HOSTILE,
    View,
    decode,
    every_block,
    hostile,
    parse_page,
    photograph,
    plot,
    simple,
    table,
    text_of,
)

# Enough of a video for a page that nobody plays.
CLIP = b'\0\0\0\x18ftypmp42' + bytes(9000)


@pytest.fixture(scope='module')
def text():
    return render_page(every_block(CLIP))


@pytest.fixture(scope='module')
def tree(text):
    return parse_page(text)


# -- structure -----------------------------------------------------------------------


def test_sections_are_linked_from_the_navigation(tree):
    links = [link.get('href')[1:] for link in tree.findall('.//nav//a')]
    assert links == ['summary', 'training', 'clips', 'masks']
    assert [section.get('id') for section in tree.iter('section')] == links
    assert text_of(tree.find('.//h1')) == 'resnext101_cosam_bert_hmdb51'
    assert '77.5 %' in View(tree).all('dd')
    assert View(tree).facts == {'Epochs': '30', 'Loss': '0.500', 'x': '\N{EN DASH}'}
    assert View(tree).missing == {
        'the channel masks': ('COSAM has none.', 'python tools/x.py')}
    ids = [one.get('id') for one in tree.iter() if one.get('id')]
    assert len(ids) == len(set(ids))
    assert {one.get('aria-labelledby', ids[0]) for one in tree.iter()} <= set(ids)


def test_images_and_clips(tree):
    images = View(tree).images
    assert {title: alt for title, (alt, _, _) in images.items()} == {
        'Loss': 'Loss: a line', 'Again': 'Again: a line', 'Frame': 'Stripes',
        'Wide': 'More stripes'}
    assert images['Loss'][1] == 'Of each epoch.'
    assert images['Frame'][2] == photograph()
    (video,) = tree.iter('video')
    assert {'controls', 'loop', 'muted', 'playsinline'} <= set(video.attrib)
    assert 'autoplay' not in video.attrib
    assert decode(video.get('src')) == CLIP
    assert decode(video.get('poster')) == photograph()
    assert [one.get('aria-label') for one in tree.findall(".//*[@class='enlarge']")
            ] == [f'Enlarge: {title}' for title in images]
    with pytest.raises(OSError):
        page.image('p', b'GIF89a', '')


def test_labels_of_plots_are_text():
    root = ElementTree.fromstring(decode(plot(label='a & <b> \x01 $x')['uri']))
    assert 'a & <b> \N{REPLACEMENT CHARACTER} $x' in [
        text_of(one) for one in root.iter() if one.tag.endswith('text')]


def test_cells_carry_the_numbers_that_they_round():
    cells = parse_page(render_page(simple(page.table('t', ('a', 'b'), [
        [0.123456, 'x'], [None, '1.5'], [float('nan'), float('-inf')],
        [7, 0.1 + 0.2]]))))
    assert [one.get('data-v') for one in cells.iter('td')] == [
        '0.123456', None, '', None, 'NaN', '-Infinity', '7.0', '0.30000000000000004']
    assert View(cells).tables['t'] == [
        ['0.123', 'x'], ['\N{EN DASH}', '1.5'], ['nan', '-inf'], ['7', '0.300']]
    assert [one.get('class') for one in cells.iter('th')] == ['number', None]


@pytest.mark.parametrize(('count', 'has_filter', 'has_note'), [
    (0, False, False), (1, False, False), (8, True, False), (61, True, True)])
def test_tables_of_any_length(count, has_filter, has_note):
    tree = parse_page(render_page(simple(table(count))))
    assert len(list(tree.iter('tr'))) == count + 1
    assert (tree.find('.//input') is not None) == has_filter
    assert (tree.find(".//p[@class='print-note']") is not None) == has_note
    assert f'{count} row{"s" * (count != 1)}' in View(tree).all('p')


@pytest.mark.parametrize(('items', 'shape'), [
    ([(312, 1462)] * 2, 'wide'), ([(96, 521)] * 2, 'strip'), ([(72, 96)], 'even'),
    ([(256, 128)], 'tall'), ([], 'even')])
def test_columns_of_a_gallery_fit_its_images(items, shape):
    gallery = page.gallery([page.image('p', photograph(*size), '') for size in items])
    assert f'class="gallery {shape}"' in render_page(simple(gallery))


# -- what others wrote ----------------------------------------------------------------


MARKED = {('td', 'class'), ('div', 'class')}  # long cells and facts
SCRIPT, SHEET = (text_of(parse_page(render_page(Report('t', '', [], []))).find(
    f'.//{tag}')) for tag in ('script', 'style'))


def own_elements(tree):
    """Elements and their attributes, apart from those that depend on a text."""
    return [(one.tag, sorted(name for name in one.attrib
                             if (one.tag, name) not in MARKED))
            for one in tree.iter() if one.tag != 'wbr']


PLAIN = own_elements(parse_page(render_page(hostile('word', CLIP))))


@pytest.mark.parametrize('text', HOSTILE)
def test_names_that_look_like_markup_are_text(text):
    tree = parse_page(render_page(hostile(text, CLIP)))
    assert own_elements(tree) == PLAIN
    for tag in ('h2', 'td', 'dd', 'pre', 'figcaption'):
        assert text.strip() in View(tree).all(tag)
    assert text_of(tree.find('.//script')) == SCRIPT
    assert text_of(tree.find('.//style')) == SHEET
    assert {one.get('alt') for one in tree.iter('img')} == {text, f'{text}: a line'}
    assert text in {one.get('aria-label') for one in tree.iter('video')}


# -- what it may load ---------------------------------------------------------------


def test_policy_forbids_all_but_what_the_page_holds(tree, text):
    (own,) = [one for one in tree.iter('meta')
              if one.get('http-equiv') == 'Content-Security-Policy']
    script, sheet = (''.join(tree.find(f'.//{tag}').itertext())
                     for tag in ('script', 'style'))
    script_hash, sheet_hash = (
        base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()
        for one in (script, sheet))
    assert dict(part.strip().split(' ', 1) for part in own.get('content').split(';')
                ) == {
        'default-src': "'none'", 'img-src': 'data:', 'media-src': 'data:',
        'style-src': "'unsafe-inline'", 'style-src-elem': f"'sha256-{sheet_hash}'",
        'style-src-attr': "'unsafe-inline'", 'script-src': f"'sha256-{script_hash}'",
        'base-uri': "'none'", 'form-action': "'none'"}
    for unsafe in ('innerHTML', 'outerHTML', 'insertAdjacentHTML', 'eval(',
                   'document.write', '<!--'):
        assert unsafe not in script
    assert 'url(' not in sheet
    for one in tree.iter():
        for name in ('src', 'href', 'poster', 'srcset', 'action', 'data'):
            assert one.get(name, '#').startswith(('#', 'data:'))
    for word in ('http://', 'https://', '@import'):
        assert word not in text
    assert render_page(every_block(CLIP)) == text  # and nothing is random


def test_a_big_report_names_its_biggest_parts():
    clips = [page.clip(f'clip {size}', bytes(size * 1_000_000), '', poster=photograph())
             for size in (1, 9, 3)]
    report = simple(page.gallery(clips), page.text('x'), table(500))
    assert size_advice(report, 25_000_000) == ''
    assert 'clip 9 (12.0 MB), clip 3 (4.0 MB)' in size_advice(report, 26_400_000)


def test_sizes_of_parts_are_those_in_the_page():
    empty = len(render_page(simple()))
    for block in (page.image('p', photograph(200, 300), ''), plot(), table(500)):
        added = len(render_page(simple(block)).encode()) - empty
        assert block['size'] == pytest.approx(added, rel=.15, abs=1500)
