"""SVG figures as parts of a page.

A page holds many figures, and each of matplotlib's names its clip paths and markers in
the same way. Here every name gets the figure's own prefix. Only elements that draw are
taken over: no script, no style sheet, no link to another file.
"""
import re
import xml.etree.ElementTree as ElementTree
from typing import NamedTuple

__all__ = ['InlineSvg', 'inline_svg']

_DRAWING = frozenset((
    'circle', 'clipPath', 'defs', 'ellipse', 'g', 'image', 'line', 'linearGradient',
    'marker', 'mask', 'path', 'pattern', 'polygon', 'polyline', 'radialGradient',
    'rect', 'stop', 'svg', 'symbol', 'text', 'tspan', 'use'))
_OWN_URL = re.compile(r'url\(\s*["\']?#([^)"\']+)["\']?\s*\)')
_OTHER_URL = re.compile(r'url\(\s*["\']?(?![\s"\'#])', re.IGNORECASE)


class InlineSvg(NamedTuple):
    """A figure that can stand in a page.

    Attributes:
        markup: The ``<svg>`` element.
        width: Of its view box, in its own units.
        height: Likewise.
    """
    markup: str
    width: float
    height: float


def inline_svg(text: str, prefix: str, label: str) -> InlineSvg:
    """Make a figure fit to stand beside others in a page.

    Args:
        text: An ``<svg>`` element with a view box, as of
            :func:`~cosam_mm.visualization.style.figure_svg`.
        prefix: Put before each of its ids, and before each use of one.
        label: What it shows, for those who do not see it.

    Raises:
        ValueError: It is no such element.
    """
    # Neither has a place in a drawing, and entities can be made to swell.
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise ValueError('An SVG figure must be an <svg> element alone, and this one '
                         'has a document type.')
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f'An SVG figure must be an <svg> element: {error}.') from None
    if _local(root.tag) != 'svg':
        raise ValueError(f'An SVG figure must be an <svg> element, got <{root.tag}>.')
    box = root.get('viewBox', '').replace(',', ' ').split()
    try:
        width, height = (float(number) for number in box[2:])
    except ValueError:
        raise ValueError('An SVG figure must have a viewBox of four numbers, got '
                         f'{root.get("viewBox")!r}.') from None
    _clean(root, prefix)
    for name in ('width', 'height'):
        root.attrib.pop(name, None)
    root.attrib.update(xmlns='http://www.w3.org/2000/svg', role='img')
    root.set('aria-label', label)
    return InlineSvg(ElementTree.tostring(root, encoding='unicode'), width, height)


def _local(name: str) -> str:
    """A name without its namespace: HTML knows SVG's names by themselves."""
    return name.rpartition('}')[2]


def _clean(element: ElementTree.Element, prefix: str) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        kept = _attribute(name, value, prefix)
        if kept is not None:
            element.set(name, kept)
    for child in list(element):
        # Comments and processing instructions have a function for a tag.
        if not isinstance(child.tag, str) or _local(child.tag) not in _DRAWING:
            element.remove(child)
        else:
            _clean(child, prefix)
    if element.tag not in ('text', 'tspan'):
        # Line breaks between elements, which are a tenth of the file.
        element.text = None
    if element.tag != 'tspan':
        element.tail = None


def _attribute(name: str, value: str, prefix: str):
    """What becomes of an attribute; None where it is left out."""
    if name.startswith('on'):
        return None
    if name == 'id':
        return prefix + value
    if name == 'href':
        if value.startswith('#'):
            return f'#{prefix}{value[1:]}'
        return value if value.startswith('data:image/') else None
    if _OTHER_URL.search(value):
        return None
    return _OWN_URL.sub(rf'url(#{prefix}\1)', value)
