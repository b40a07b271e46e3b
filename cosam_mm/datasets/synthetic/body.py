"""A person's body, clothes and belongings as round parts, posed as in a walk.

Coordinates of the body are metres: forward, to its left, up from the ground. The phase
of the stride alone says where the joints are: legs swing as sines half a cycle apart,
the knee bends while its leg swings forward, the arms swing against the legs, and the
lower foot stands on the ground.

Patterns are functions of the position on the garment, around the body and along it: a
logo is in front, stripes go round, and the view decides what of them is seen.
"""
import numpy as np

from .person import Person
from .raster import Canvas, Paint, Part, Surface, View, render_part

__all__ = ['render_body']

SIDES = (1, -1)  # left, right
_ANKLE_HEIGHT = 0.045  # share of the height, as all lengths below


# Joints.


def _leg(person: Person, phase: np.ndarray, side: int) -> dict:
    """Joints of one leg (T, 3) with the hip at height 0."""
    length = (person.leg_share - _ANKLE_HEIGHT) * person.height / 2
    thigh = person.stride * np.sin(phase) + 0.06
    shin = thigh - 0.12 - 1.6 * person.stride * np.maximum(0, np.cos(phase))
    foot = np.minimum(0.25, 0.75 * shin + 0.12)
    zero = np.zeros_like(phase)
    lateral = np.full_like(phase, side * 0.052 * person.build * person.height)
    hip = np.stack([zero, lateral, zero], axis=-1)
    knee = hip + length * np.stack([np.sin(thigh), zero, -np.cos(thigh)], axis=-1)
    ankle = knee + length * np.stack([np.sin(shin), zero, -np.cos(shin)], axis=-1)
    toe = ankle + 0.11 * person.height * np.stack(
        [np.cos(foot), side * 0.15 + zero, np.sin(foot) - 0.16], axis=-1)
    return dict(hip=hip, knee=knee, ankle=ankle, toe=toe)


def _arm(person: Person, phase: np.ndarray, side: int, shoulder: np.ndarray) -> dict:
    """Joints of one arm (T, 3)."""
    length = 0.163 * person.height
    busy = side == person.side
    swing = -person.arm_swing * np.sin(phase)
    bend = 0.25 + 0.25 * np.maximum(0, -np.sin(phase))
    if busy and person.umbrella is not None:
        swing, bend = 0.45 + 0.05 * swing, 2.0 + 0 * bend
    elif busy and person.handbag is not None:
        swing, bend = 0.35 * swing, 0.12 + 0 * bend
    splay = side * 0.13 * person.build

    def reach(angle):
        return length * np.stack(
            [np.sin(angle), splay + 0 * angle, -np.cos(angle)], axis=-1)

    elbow = shoulder + reach(swing)
    return dict(shoulder=shoulder, elbow=elbow, wrist=elbow + reach(swing + bend))


def _pose(person: Person, phase: np.ndarray) -> dict:
    """Pose a walking person at (T,) phases in radians, two pi a full stride.

    Joint name to (T, 3): ``pelvis``, ``chest`` (between the shoulders), ``head`` (its
    centre), and ``hip``, ``knee``, ``ankle``, ``toe``, ``shoulder``, ``elbow``,
    ``wrist`` as keys (name, side), side 1 left, -1 right.
    """
    legs = {side: _leg(person, phase + (0 if side > 0 else np.pi), side)
            for side in SIDES}
    lowest = np.minimum(legs[1]['ankle'][:, 2], legs[-1]['ankle'][:, 2])
    up = np.zeros((len(phase), 3))
    up[:, 2] = _ANKLE_HEIGHT * person.height - lowest
    joints = {(name, side): joint + up
              for side in SIDES for name, joint in legs[side].items()}
    lean = np.array([np.sin(person.lean), 0, np.cos(person.lean)])
    joints['pelvis'] = up
    joints['chest'] = up + (0.815 - person.leg_share) * person.height * lean
    joints['head'] = up + (0.925 - person.leg_share) * person.height * lean
    for side in SIDES:
        shoulder = joints['chest'] + [
            0, side * 0.108 * person.build * person.height, -0.012 * person.height]
        arm = _arm(person, phase + (0 if side > 0 else np.pi), side, shoulder)
        joints.update({(name, side): joint for name, joint in arm.items()})
    return joints


# Colours.


def _around(surface: Surface) -> np.ndarray:
    """Angle around the body, 0 in front, in radians."""
    return np.arctan2(surface.left, surface.forward)


def _stripes(surface: Surface) -> np.ndarray:
    return np.sin(2 * np.pi * 3 * surface.along + 0.6) > 0


def _open_front(surface: Surface) -> np.ndarray:
    """Where an open garment shows what is below, (n,) bool."""
    return (surface.forward > 0) & (np.abs(surface.left) < 0.4)


def _straps(surface: Surface) -> np.ndarray:
    return (surface.forward > 0) & (np.abs(np.abs(surface.left) - 0.55) < 0.14) & (
        surface.along < 0.7)


# Where each pattern of an upper garment shows the second colour, (n,) bool.
_PATTERNS = dict(
    stripes=_stripes,
    pinstripes=lambda surface: np.sin(5 * _around(surface)) > 0.1,
    checks=lambda surface: _stripes(surface) ^ (np.sin(4 * _around(surface)) > 0),
    # In front and behind, so that no viewpoint loses it altogether.
    logo=lambda surface: (
        (np.abs(surface.left) < 0.5) & (np.abs(surface.along - 0.38) < 0.17)),
    block=lambda surface: surface.along < 0.42,
    open=_open_front,
    sash=lambda surface: np.abs(surface.along - 0.45 - 0.4 * surface.left) < 0.14,
    hem=lambda surface: surface.along > 0.74)


def _plain(colour: tuple) -> Paint:
    """One colour, RGB 0 to 255."""
    return lambda surface: np.broadcast_to(
        np.float32(colour), (len(surface.along), 3))


def _masked(colour: tuple, masks: list) -> Paint:
    """A colour, with others where their masks say so; later ones win."""
    def paint(surface):
        painted = np.tile(np.float32(colour), (len(surface.along), 1))
        for mask, other in masks:
            painted[mask(surface)] = other
        return painted

    return paint


def _torso_paint(person: Person) -> Paint:
    """The upper garment with its pattern, and the straps of a backpack."""
    masks = []
    if person.pattern in _PATTERNS:
        masks.append((_PATTERNS[person.pattern], person.second))
    if person.backpack is not None:
        masks.append((_straps, person.backpack))
    return _masked(person.upper, masks)


def _head_paint(person: Person) -> Paint:
    """Skin in front, hair on top and behind."""
    def has_hair(surface):
        return (surface.forward < -0.15) | (surface.end < -0.45 + 0.2 * surface.forward)

    return _masked(
        person.skin, [] if person.hair_style == 'bald' else [(has_hair, person.hair)])


def _leg_paints(person: Person, side: int) -> tuple:
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
    return (_masked(thigh, stripe + over),
            _masked(person.skin if bare else person.lower, stripe))


# Parts.


def _offset(joint: np.ndarray, forward: float, left: float, up: float) -> np.ndarray:
    return joint + np.array([forward, left, up])


def _trunk(person: Person, joints: dict) -> list:
    """Torso, neck and what a coat adds below."""
    h, b = person.height, person.build
    hips = 0.104 * b * person.taper * h
    waist = 0.5 * hips + 0.043 * b * h
    depth_ratio = 0.66 * person.belly / b
    parts = [
        Part(joints['chest'], _offset(joints['pelvis'], 0, 0, 0.035 * h),
             (0.068 * b * h, 0.107 * b * h, 0.1 * b * h, waist, waist),
             _torso_paint(person), depth_ratio, 0.25),
        Part(_offset(joints['pelvis'], 0, 0, 0.03 * h),
             _offset(joints['pelvis'], 0, 0, -0.035 * h), (1.03 * waist, 1.02 * hips),
             _plain(person.lower), depth_ratio, 0.2),
        Part(_offset(joints['head'], 0, 0, -0.03 * h), joints['chest'],
             (0.036 * h,), _plain(person.skin)),
    ]
    if person.coat:
        hem = _offset(joints['pelvis'], 0.01, 0, -0.17 * h)
        colour = person.second if person.pattern == 'hem' else person.upper
        masks = [(_open_front, person.second)] if person.pattern == 'open' else []
        parts.append(Part(
            _offset(joints['pelvis'], 0, 0, 0.04 * h), hem,
            (1.05 * waist, max(1.12 * hips, 0.118 * b * h), 1.25 * hips),
            _masked(colour, masks), 1.15, 0.1))
    return parts


def _head(person: Person, joints: dict) -> list:
    """Head and hair."""
    h, head = person.height, joints['head']
    parts = [Part(_offset(head, 0, 0, 0.012 * h), _offset(head, 0, 0, -0.012 * h),
                  (0.05 * h, 0.046 * h), _head_paint(person), 1.12, 1.25)]
    if person.hair_style == 'long':
        parts.append(Part(
            _offset(head, -0.022 * h, 0, 0.02 * h),
            _offset(head, -0.045 * h, 0, -0.11 * h), (0.052 * h, 0.062 * h, 0.05 * h),
            _plain(person.hair), 0.6, 0.6))
    if person.hair_style == 'bun':
        bun = _offset(head, -0.035 * h, 0, 0.06 * h)
        parts.append(Part(bun, bun, (0.03 * h,), _plain(person.hair)))
    return parts


def _arms(person: Person, joints: dict) -> list:
    h, b = person.height, person.build
    sleeve = person.second if person.contrast_sleeves else person.upper
    lower = sleeve if person.long_sleeves else person.skin
    parts = []
    for side in SIDES:
        shoulder, elbow, wrist = (
            joints[name, side] for name in ('shoulder', 'elbow', 'wrist'))
        parts += [
            Part(shoulder, elbow, (0.034 * b * h, 0.028 * b * h), _plain(sleeve)),
            Part(elbow, wrist, (0.027 * b * h, 0.02 * b * h), _plain(lower)),
            Part(wrist, wrist + 0.12 * (wrist - elbow), (0.023 * h,),
                 _plain(person.skin)),
        ]
    return parts


def _legs(person: Person, joints: dict) -> list:
    h, b = person.height, person.build
    parts = []
    for side in SIDES:
        hip, knee, ankle, toe = (
            joints[name, side] for name in ('hip', 'knee', 'ankle', 'toe'))
        thigh, shin = _leg_paints(person, side)
        parts += [
            Part(hip, knee, (0.057 * b * h, 0.054 * b * h, 0.042 * b * h), thigh),
            Part(knee, ankle, (0.04 * b * h, 0.038 * b * h, 0.028 * h), shin),
            Part(ankle, toe, (0.026 * h, 0.02 * h), _plain(person.shoes)),
        ]
    return parts


def _skirt(person: Person, joints: dict) -> list:
    h, b = person.height, person.build
    if person.lower_kind == 'skirt':
        # It follows the legs: as wide in front as the stride at its hem.
        spread = np.abs(joints['knee', 1][:, 0] - joints['knee', -1][:, 0]).max()
        hem = _offset(joints['pelvis'], 0.02, 0, -0.23 * h)
        wide = 0.122 * b * h
        return [Part(joints['pelvis'], hem, (0.105 * b * h, 0.116 * b * h, wide),
                     _plain(person.lower), max(0.9, (0.45 * spread + 0.03 * h) / wide),
                     0.1)]
    if person.lower_kind == 'shorts':
        return [Part(joints['hip', side],
                     0.15 * joints['hip', side] + 0.85 * joints['knee', side],
                     (0.066 * b * h, 0.064 * b * h), _plain(person.lower), 1, 0.4)
                for side in SIDES]
    return []


def _backpack(person: Person, joints: dict) -> list:
    if person.backpack is None:
        return []
    h = person.height
    back = -(0.075 * person.belly + 0.05) * h
    flap = _masked(person.backpack, [
        (lambda surface: surface.along < 0.25,
         tuple(0.7 * value for value in person.backpack))])
    return [Part(_offset(joints['chest'], back, 0, -0.02 * h),
                 _offset(joints['chest'], back, 0, -0.19 * h),
                 (0.07 * h, 0.082 * h, 0.08 * h), flap, 0.72, 0.35)]


def _handbag(person: Person, joints: dict) -> list:
    if person.handbag is None:
        return []
    h, side, paint = person.height, person.side, _plain(person.handbag)
    if person.handbag_kind == 'hand' and person.umbrella is None:
        hold = joints['wrist', side]
        top = _offset(hold, 0, 0, -0.07 * h)
    else:
        hold = _offset(joints['shoulder', side], 0, 0, 0.03 * h)
        top = _offset(joints['pelvis'], 0, side * 0.15 * person.build * h, 0.02 * h)
    return [
        Part(hold, top, (0.007 * h,), paint),
        Part(top, _offset(top, 0, 0, -0.1 * h), (0.032 * h, 0.036 * h), paint, 2.4,
             0.3),
    ]


def _hat(person: Person, joints: dict) -> list:
    if person.hat is None:
        return []
    h, paint = person.height, _plain(person.hat)
    rim = _offset(joints['head'], 0, 0, 0.024 * h)
    crown = Part(rim, _offset(rim, 0, 0, -0.005 * h), (0.057 * h,), paint, 1.12,
                 0.9 if person.hat_kind == 'cap' else 1.15, True)
    if person.hat_kind == 'cap':
        return [crown, Part(_offset(rim, 0.02 * h, 0, 0.004 * h),
                            _offset(rim, 0.095 * h, 0, -0.008 * h),
                            (0.02 * h, 0.014 * h), paint)]
    if person.hat_kind == 'wide':
        return [crown, Part(rim, rim, (0.11 * h,), paint, 1, 0.14)]
    return [crown]


def _umbrella(person: Person, joints: dict) -> list:
    if person.umbrella is None:
        return []
    h, wrist = person.height, joints['wrist', person.side]
    centre = _offset(joints['head'], 0.06 * h, person.side * 0.06 * h, 0.08 * h)
    light = tuple(min(245, 1.35 * value + 25) for value in person.umbrella)
    gores = _masked(person.umbrella, [
        (lambda surface: np.sin(4 * _around(surface)) > 0, light)])
    return [
        Part(_offset(centre, 0, 0, 0.1 * h), wrist, (0.008 * h,), _plain((60, 60, 62))),
        Part(centre, _offset(centre, 0, 0, -0.01 * h), (0.3 * h,), gores, 1, 0.42,
             True),
    ]


def render_body(canvas: Canvas, person: Person, phase: np.ndarray, view: View,
                is_target: bool = False) -> None:
    """Render a walking person onto T frames, in place.

    ``phase`` are phases of the stride (T,) in radians, ``is_target`` says whether this
    is the person of interest.
    """
    joints = _pose(person, phase)
    for make_parts in (_trunk, _head, _arms, _legs, _skirt, _backpack, _handbag, _hat,
                       _umbrella):
        for part in make_parts(person, joints):
            render_part(canvas, part, view, is_target)
