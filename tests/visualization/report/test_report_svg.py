"""SVG figures as parts of a page: names of their own, nothing but drawing."""
import re
import xml.etree.ElementTree as ElementTree

import pytest

from cosam_mm.visualization.report.svg import inline_svg
from cosam_mm.visualization.style import figure_svg, new_figure, style

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20">{}</svg>'


def plot():
    with style():
        figure = new_figure(4, 2)
        axes = figure.subplots()
        axes.plot([1, 3, 2], label='a & <b>')
        axes.set_title('"quoted" & <b>')
        axes.legend()
        axes.imshow([[0, 1], [1, 0]])
    return figure_svg(figure)


def test_every_name_and_every_use_of_one_gets_the_prefix():
    drawing = inline_svg(plot(), 'f7-', 'A line')
    root = ElementTree.fromstring(drawing.markup)
    ids = {element.get('id') for element in root.iter() if element.get('id')}
    assert ids
    assert all(name.startswith('f7-') for name in ids)
    used = set(re.findall(r'url\(#([^)]+)\)', drawing.markup))
    used |= set(re.findall(r'href="#([^"]+)"', drawing.markup))
    assert used
    assert used <= ids


def test_is_a_labelled_image_of_the_figure_s_size():
    drawing = inline_svg(plot(), 'a-', 'Say "hi" & <go>')
    root = ElementTree.fromstring(drawing.markup)
    assert (drawing.width, drawing.height) == (288, 144)
    assert root.get('aria-label') == 'Say "hi" & <go>'
    assert root.get('role') == 'img'
    assert root.get('width') is None


def test_keeps_what_is_drawn():
    markup = inline_svg(plot(), 'a-', '').markup
    root = ElementTree.fromstring(markup)
    texts = [element.text for element in root.iter() if element.tag.endswith('text')]
    assert '"quoted" & <b>' in texts
    assert 'a & <b>' in texts
    assert 'var(--lines)' in markup
    assert 'currentColor' in markup
    (image,) = [e for e in root.iter() if e.tag.endswith('image')]
    assert image.get('href').startswith('data:image/png;base64,')
    # One style sheet would be that of the whole page.
    assert '<style' not in markup
    assert 'metadata' not in markup


@pytest.mark.parametrize('hostile', [
    '<script>alert(1)</script>',
    '<style>body{display:none}</style>',
    '<foreignObject><b xmlns="http://www.w3.org/1999/xhtml">x</b></foreignObject>',
    '<a href="https://example.com"><rect/></a>',
    '<desc><img src="x"/></desc>',
    '<!-- > <script>alert(1)</script> -->',
])
def test_leaves_out_what_does_not_draw(hostile):
    assert inline_svg(SVG.format(hostile + '<rect width="3"/>'), '', '').markup == (
        SVG.format('<rect width="3" />').replace(
            '>', ' role="img" aria-label="">', 1).replace(
            ' xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20"',
            ' viewBox="0 0 30 20" xmlns="http://www.w3.org/2000/svg"'))


@pytest.mark.parametrize('attribute', [
    'onclick="alert(1)"', 'href="https://example.com/a.png"', 'href="javascript:x()"',
    'fill="url(https://example.com/a.svg#b)"', 'style="fill: url( //example.com )"',
])
def test_leaves_out_what_would_load_or_run(attribute):
    name = attribute.partition('=')[0]
    markup = inline_svg(SVG.format(f'<rect {attribute} width="3"/>'), '', '').markup
    (rect,) = ElementTree.fromstring(markup)
    assert rect.attrib == {'width': '3'}, name


@pytest.mark.parametrize(('text', 'message'), [
    ('<svg', 'must be an <svg> element: '),
    ('<b/>', 'must be an <svg> element, got <b>'),
    ('<!DOCTYPE svg [<!ENTITY a "b">]><svg viewBox="0 0 1 1">&a;</svg>',
     'has a document type'),
    ('<svg/>', 'a viewBox of four numbers, got None'),
    ('<svg viewBox="0 0 a b"/>', "a viewBox of four numbers, got '0 0 a b'"),
])
def test_refuses_other_things(text, message):
    with pytest.raises(ValueError, match=message):
        inline_svg(text, '', '')
