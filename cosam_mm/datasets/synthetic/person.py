"""Who walks: body, clothes and belongings of one identity.

Persons come in wardrobes of three that wear the same two main colours. They differ
in pattern, cut, build, hair and in what they carry, so that colour alone does not
tell them apart.
"""
from dataclasses import dataclass
from typing import Optional

import numpy as np

__all__ = ['ATTRIBUTES', 'PERSONS_PER_WARDROBE', 'Person', 'generate_person']

ATTRIBUTES = ('handbag', 'backpack', 'hat', 'umbrella')
PATTERNS = ('plain', 'stripes', 'pinstripes', 'checks', 'logo', 'block', 'open', 'sash',
            'hem')
LOWER_KINDS = ('trousers', 'shorts', 'skirt', 'side_stripe')
HAIR_STYLES = ('short', 'long', 'bun', 'bald')
HAT_KINDS = ('cap', 'beanie', 'wide')
HANDBAG_KINDS = ('hand', 'shoulder')
PERSONS_PER_WARDROBE = 3

# Chance of each belonging where the difficulty's ``accessories`` is 1.
_CHANCES = dict(handbag=0.6, backpack=0.6, hat=0.6, umbrella=0.3)

_CLOTHS = np.array([
    (34, 33, 38), (226, 224, 218), (128, 130, 134), (40, 52, 98), (178, 40, 44),
    (48, 110, 62), (196, 168, 124), (66, 118, 190), (212, 176, 52), (104, 66, 42),
    (108, 62, 128), (222, 146, 166), (60, 150, 150), (222, 112, 44)
])
_LOWERS = (0, 2, 3, 6, 7, 9, 1)
_SKINS = np.array([(240, 205, 180), (222, 178, 146), (188, 138, 104), (134, 92, 66),
                   (88, 60, 46)])
_HAIRS = np.array([(28, 24, 24), (70, 46, 30), (120, 82, 48), (196, 160, 96),
                   (150, 148, 146), (132, 56, 34)])
_SHOES = np.array([(26, 26, 28), (236, 236, 232), (110, 70, 44), (170, 40, 44),
                   (120, 122, 128)])


@dataclass(frozen=True)
class Person:
    """One identity as it looks on all days and in all cameras.

    Colours are RGB, 0 to 255; those of belongings are None where there is none.
    """

    height: float  # metres
    build: float  # widths of the body, 1 is usual
    belly: float  # depth of the torso, 1 is usual
    leg_share: float  # height of the hips as a share of the height
    taper: float  # width of the hips as a share of that of the shoulders
    skin: tuple
    hair: tuple
    upper: tuple
    second: tuple  # the other colour of the upper garment's pattern
    lower: tuple
    shoes: tuple
    hair_style: str  # one of HAIR_STYLES
    pattern: str  # one of PATTERNS
    long_sleeves: bool  # to the wrists, or else to the elbows
    contrast_sleeves: bool  # in the second colour
    coat: bool  # the upper garment reaches down over the thighs
    lower_kind: str  # one of LOWER_KINDS
    stride: float  # largest angle of the thighs while walking, radians
    arm_swing: float  # largest angle of the arms, radians
    lean: float  # forward lean of the upper body, radians
    cadence: float  # strides (two steps) a second
    side: int  # of handbag and umbrella: 1 left, -1 right
    handbag: Optional[tuple]
    backpack: Optional[tuple]
    hat: Optional[tuple]
    umbrella: Optional[tuple]
    hat_kind: str  # one of HAT_KINDS
    handbag_kind: str  # one of HANDBAG_KINDS

    @property
    def attributes(self) -> dict:
        """Which of :data:`ATTRIBUTES` the person has, each 0 or 1."""
        return {name: int(getattr(self, name) is not None) for name in ATTRIBUTES}


def _tint(rng: np.random.Generator, palette: np.ndarray, spread: float = 8) -> tuple:
    """A colour of a palette, slightly off."""
    colour = rng.choice(palette) + rng.uniform(-spread, spread, 3)
    return tuple(np.clip(colour, 10, 245).round(1).tolist())


def _clothes_colours(rng: np.random.Generator,
                     wardrobe_rng: np.random.Generator) -> dict:
    """Main colours of the wardrobe, and a second one that differs from the first."""
    upper = int(wardrobe_rng.integers(len(_CLOTHS)))
    lower = wardrobe_rng.choice(_LOWERS)
    contrast = np.abs(_CLOTHS - _CLOTHS[upper]).sum(axis=1)
    second = rng.choice(np.flatnonzero(contrast > 150))
    return {
        name: _tint(rng, _CLOTHS[[index]], 5)
        for name, index in (('upper', upper), ('second', second), ('lower', lower))
    }


def _belongings(rng: np.random.Generator, accessories: float) -> dict:
    """Colours of what the person carries; it moves no other property."""
    colours = {}
    for name in ATTRIBUTES:
        colour, has = _tint(rng, _CLOTHS, 15), rng.random()
        colours[name] = colour if has < accessories * _CHANCES[name] else None
    return colours


def generate_person(rng: np.random.Generator,
                    wardrobe_rng: Optional[np.random.Generator] = None,
                    accessories: float = 0.5) -> Person:
    """Generate one identity.

    Args:
        rng: Source of what is the person's own.
        wardrobe_rng: Source of the main colours; persons whose sources are in equal
            states wear equal colours. None: ``rng``.
        accessories: How much people carry, 0 nothing to 1.

    >>> generate_person(np.random.default_rng(0), accessories=0).attributes
    {'handbag': 0, 'backpack': 0, 'hat': 0, 'umbrella': 0}
    """
    colours = _clothes_colours(rng, rng if wardrobe_rng is None else wardrobe_rng)
    build = float(rng.uniform(0.86, 1.22))
    return Person(
        **colours, **_belongings(rng, accessories), build=build,
        belly=float(build**1.5 * rng.uniform(0.9, 1.15)),
        height=float(rng.uniform(1.52, 1.95)),
        leg_share=float(rng.uniform(0.465, 0.53)),
        taper=float(rng.uniform(0.72, 1.02)),
        skin=_tint(rng, _SKINS), hair=_tint(rng, _HAIRS), shoes=_tint(rng, _SHOES),
        hair_style=str(rng.choice(HAIR_STYLES, p=(0.45, 0.3, 0.13, 0.12))),
        pattern=str(rng.choice(PATTERNS)), long_sleeves=bool(rng.random() < 0.6),
        contrast_sleeves=bool(rng.random() < 0.25), coat=bool(rng.random() < 0.22),
        lower_kind=str(rng.choice(LOWER_KINDS, p=(0.45, 0.2, 0.2, 0.15))),
        stride=float(rng.uniform(0.36, 0.52)), arm_swing=float(rng.uniform(0.25, 0.6)),
        lean=float(rng.uniform(-0.02, 0.12)), cadence=float(rng.uniform(0.85, 1.15)),
        side=int(rng.choice((-1, 1))), hat_kind=str(rng.choice(HAT_KINDS)),
        handbag_kind=str(rng.choice(HANDBAG_KINDS)))
