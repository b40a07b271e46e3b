"""Plots, images and videos of trained models: masks, rank panels, confusion, curves.

One file makes one kind of plot or image; :mod:`.style` and :mod:`.canvas` are their
common look. :mod:`.report` puts all of them on one HTML page.
"""
