"""Numbers in the figure of masks and silhouettes."""
import io

import pytest
from PIL import Image

from cosam_mm.visualization.style import figure_png
from projects.attention_study.mask_agreement_plot import AgreementPoint, draw_agreement

POINTS = [AgreementPoint(kind, place, epoch, auc + epoch / 100, .05)
          for epoch in (20, 0, 10)
          for kind, place, auc in (('cosam', 'after_layer3', .5),
                                   ('cosam', 'after_$4$', .6), ('centre', '', .7))]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_over_epochs_and_layers():
    figure = draw_agreement(POINTS)
    epochs, layers = figure.axes
    lines = {line.get_label(): line for line in epochs.get_lines()}
    for name, auc in (('cosam, after_layer3', .5), (r'cosam, after_\$4\$', .6),
                      ('centre', .7)):
        assert lines[name].get_xdata().tolist() == [0, 10, 20]
        assert lines[name].get_ydata() == pytest.approx([auc, auc + .1, auc + .2])
    assert labels(figure) == ['cosam, after_layer3', r'cosam, after_\$4\$', 'centre']
    cosam, centre = (container.lines[0] for container in layers.containers)
    assert cosam.get_ydata() == pytest.approx([.7, .8])
    assert cosam.get_xdata() == pytest.approx([-.2, .8])
    assert (centre.get_xdata(), centre.get_ydata()) == (
        pytest.approx([2.2]), pytest.approx([.9]))
    low, high = layers.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((.65, .75))
    assert [tick.get_text() for tick in layers.get_xticklabels()] == [
        'after_layer3', r'after_\$4\$', 'no layer']
    assert layers.get_title(loc='left') == 'by layer, epoch 20'
    assert cosam.get_color() == lines['cosam, after_layer3'].get_color()


def test_one_epoch_has_no_curve():
    figure = draw_agreement(POINTS[:2])
    axes, = figure.axes
    assert len(axes.containers) == 1
    assert labels(figure) == ['cosam']
    assert axes.get_ylabel() == 'AUC (0.5 is chance)'
    image = Image.open(io.BytesIO(figure_png(figure, dpi=60)))
    assert image.size[0] == 270


def test_nothing_to_draw():
    with pytest.raises(ValueError, match='There is no map to draw'):
        draw_agreement([])
