"""A report with every kind of block, and names that are meant to break a page."""
import numpy as np

from cosam_mm.visualization.report.content import (
    Clip,
    Code,
    Facts,
    Gallery,
    Missing,
    Picture,
    Report,
    Section,
    Table,
    Text,
)
from cosam_mm.visualization.style import encode_image, figure_svg, new_figure, style

HOSTILE = ('<script>alert(1)</script>', '</script><b>', '"\'><img src=x onerror=x()>',
           '{{ 7 * 7 }} {% raw %}', '<!-- ]]> &lt;', 'javascript:alert(1)',
           'naïve \u202e')


def plot(values=(1, 3, 2)):
    """A figure of matplotlib's: the same names in each."""
    with style():
        figure = new_figure(7.5, 3)
        axes = figure.subplots()
        axes.plot(values, label='loss')
        axes.legend()
    return figure_svg(figure)


def photograph(height=40, width=60):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, ::4] = 200
    return encode_image(image, 'png')


def video():
    """Two seconds of MP4."""
    from cosam_mm.visualization.clip_file import encode_mp4

    return encode_mp4((np.full((48, 64, 3), 10 * value, np.uint8)
                       for value in range(20)), fps=10)


def rows(count):
    """Numbers in no order, some of them missing, and words."""
    return [[f'clip {number}', ('walk', 'run', 'Jump')[number % 3],
             None if number % 10 == 9 else (number * 37 % 101) / 8, number - 5]
            for number in range(count)]


def every_block(clip, count=30):
    """A report with every kind of block.

    Args:
        clip: Bytes of a video.
        count: Rows of its table.
    """
    table = Table('Every clip', ('clip', 'class', 'score', 'number'), rows(count),
                  'Sorted by nothing.')
    pictures = [Picture('Loss', plot(), 'A line that falls', 'Of each epoch.'),
                Picture('Again', plot((3, 1, 2)), 'Another line'),
                Picture('Frame', photograph(), 'Stripes')]
    return Report(
        'resnext101_cosam_bert_hmdb51', 'Action recognition on hmdb51, split 1',
        [('Top-1 accuracy', '77.5 %'), ('Top-3 accuracy', '92.6 %')],
        [Section('summary', 'Summary', 'What was trained.', [
            Text('A word on it.'), Facts([('Epochs', 30), ('Loss', 0.5), ('x', None)]),
            Code('Again', 'python tools/report.py work_dirs/demo')]),
         Section('training', 'Training', '', pictures),
         Section('clips', 'Clips', 'All of them.', [
             table, Table('Two', ('a', 'b'), [[1, 'x'], [2, 'y']])]),
         Section('masks', 'Masks', 'Where the frames agree.', [
             Gallery([Clip('Walk', clip, 'A mask', 'After layer3.', photograph()),
                      Picture('Wide', photograph(20, 100), 'More stripes')], 'All'),
             Missing('the channel masks', 'COSAM has none.', 'python tools/x.py')])])


def hostile(text, clip):
    """A report in which every text is ``text``."""
    picture = Picture(text, plot(), text, text)
    return Report(text, text, [(text, text)], [Section('one', text, text, [
        Text(text), Facts([(text, text)]), Code(text, text), Missing(text, text, text),
        picture, Picture(text, photograph(), text, text),
        Clip(text, clip, text, text, photograph()), Gallery([picture], text),
        Table(text, (text, 'b'), [[text, 1], [text * 9, None]] * 5, text)])])
