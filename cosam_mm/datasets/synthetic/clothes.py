"""Colours of skin, hair and cloth at each point of a body.

Patterns are functions of the place on the garment, around the body and along it: a
logo is in front, stripes go round, and the view decides what of them is seen.
"""
from typing import Callable

import numpy as np

from .person import Person
from .raster import Paint, Surface

Mask = Callable[[Surface], np.ndarray]


def around(surface: Surface) -> np.ndarray:
    """Angle around the body, 0 in front, in radians."""
    return np.arctan2(surface.left, surface.forward)


def _stripes(surface: Surface) -> np.ndarray:
    return np.sin(2 * np.pi * 3 * surface.along + 0.6) > 0


def _pinstripes(surface: Surface) -> np.ndarray:
    return np.sin(5 * around(surface)) > 0.1


def _checks(surface: Surface) -> np.ndarray:
    return _stripes(surface) ^ (np.sin(4 * around(surface)) > 0)


def _logo(surface: Surface) -> np.ndarray:
    # In front and behind, so that no viewpoint loses it altogether.
    return (np.abs(surface.left) < 0.5) & (np.abs(surface.along - 0.38) < 0.17)


def _block(surface: Surface) -> np.ndarray:
    return surface.along < 0.42


def open_front(surface: Surface) -> np.ndarray:
    """Where an open garment shows what is below, (n,) bool."""
    return (surface.forward > 0) & (np.abs(surface.left) < 0.4)


def _sash(surface: Surface) -> np.ndarray:
    return np.abs(surface.along - 0.45 - 0.4 * surface.left) < 0.14


def _hem(surface: Surface) -> np.ndarray:
    return surface.along > 0.74


_MASKS = dict(stripes=_stripes, pinstripes=_pinstripes, checks=_checks, logo=_logo,
              block=_block, open=open_front, sash=_sash, hem=_hem)


def plain(colour: tuple) -> Paint:
    """One colour, RGB 0 to 255."""
    return lambda surface: np.broadcast_to(
        np.float32(colour), (len(surface.along), 3))


def masked(colour: tuple, masks: list) -> Paint:
    """A colour, with others where their masks say so; later ones win."""
    def paint(surface):
        painted = np.tile(np.float32(colour), (len(surface.along), 1))
        for mask, other in masks:
            painted[mask(surface)] = other
        return painted

    return paint


def _straps(surface: Surface) -> np.ndarray:
    return (surface.forward > 0) & (np.abs(np.abs(surface.left) - 0.55) < 0.14) & (
        surface.along < 0.7)


def torso_paint(person: Person) -> Paint:
    """The upper garment with its pattern, and the straps of a backpack."""
    masks = []
    if person.pattern in _MASKS:
        masks.append((_MASKS[person.pattern], person.second))
    if person.backpack is not None:
        masks.append((_straps, person.backpack))
    return masked(person.upper, masks)


def head_paint(person: Person) -> Paint:
    """Skin in front, hair on top and behind."""
    def has_hair(surface):
        return (surface.forward < -0.15) | (surface.end < -0.45 + 0.2 * surface.forward)

    return masked(
        person.skin, [] if person.hair_style == 'bald' else [(has_hair, person.hair)])


def leg_paints(person: Person, side: int) -> tuple:
    """Paints of thigh and shin: trousers or skin, and what hangs over the thigh.

    Coats and skirts are painted on the thighs as well, which would poke through.
    """
    bare = person.lower_kind in ('shorts', 'skirt')
    stripe = []
    if person.lower_kind == 'side_stripe':
        stripe = [(lambda surface: surface.left * side > 0.6, person.second)]
    over = []
    if person.lower_kind == 'skirt':
        over.append((lambda surface: surface.along < 0.6, person.lower))
    if person.coat:
        over.append((lambda surface: surface.along < 0.4, person.upper))
    thigh = person.skin if person.lower_kind == 'skirt' else person.lower
    return (masked(thigh, stripe + over),
            masked(person.skin if bare else person.lower, stripe))
