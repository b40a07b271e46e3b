"""A person's body, clothes and belongings as round parts, posed."""
import numpy as np

from .clothes import (
    around,
    head_paint,
    leg_paints,
    masked,
    open_front,
    plain,
    torso_paint,
)
from .gait import SIDES, pose_body
from .person import Person
from .raster import Canvas, Part, View, draw_part


def _offset(place: np.ndarray, forward: float, left: float, up: float) -> np.ndarray:
    return place + np.array([forward, left, up])


def _trunk(person: Person, joints: dict) -> list:
    """Torso, neck and what a coat adds below."""
    h, b = person.height, person.build
    hips = 0.104 * b * person.taper * h
    waist = 0.5 * hips + 0.043 * b * h
    depth_ratio = 0.66 * person.belly / b
    parts = [
        Part(joints['chest'], _offset(joints['pelvis'], 0, 0, 0.035 * h),
             (0.068 * b * h, 0.107 * b * h, 0.1 * b * h, waist, waist),
             torso_paint(person), depth_ratio, 0.25),
        Part(_offset(joints['pelvis'], 0, 0, 0.03 * h),
             _offset(joints['pelvis'], 0, 0, -0.035 * h), (1.03 * waist, 1.02 * hips),
             plain(person.lower), depth_ratio, 0.2),
        Part(_offset(joints['head'], 0, 0, -0.03 * h), joints['chest'],
             (0.036 * h,), plain(person.skin)),
    ]
    if person.coat:
        hem = _offset(joints['pelvis'], 0.01, 0, -0.17 * h)
        colour = person.second if person.pattern == 'hem' else person.upper
        masks = [(open_front, person.second)] if person.pattern == 'open' else []
        parts.append(Part(
            _offset(joints['pelvis'], 0, 0, 0.04 * h), hem,
            (1.05 * waist, max(1.12 * hips, 0.118 * b * h), 1.25 * hips),
            masked(colour, masks), 1.15, 0.1))
    return parts


def _head(person: Person, joints: dict) -> list:
    """Head and hair."""
    h, head = person.height, joints['head']
    parts = [Part(_offset(head, 0, 0, 0.012 * h), _offset(head, 0, 0, -0.012 * h),
                  (0.05 * h, 0.046 * h), head_paint(person), 1.12, 1.25)]
    if person.hair_style == 'long':
        parts.append(Part(
            _offset(head, -0.022 * h, 0, 0.02 * h),
            _offset(head, -0.045 * h, 0, -0.11 * h), (0.052 * h, 0.062 * h, 0.05 * h),
            plain(person.hair), 0.6, 0.6))
    if person.hair_style == 'bun':
        bun = _offset(head, -0.035 * h, 0, 0.06 * h)
        parts.append(Part(bun, bun, (0.03 * h,), plain(person.hair)))
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
            Part(shoulder, elbow, (0.034 * b * h, 0.028 * b * h), plain(sleeve)),
            Part(elbow, wrist, (0.027 * b * h, 0.02 * b * h), plain(lower)),
            Part(wrist, wrist + 0.12 * (wrist - elbow), (0.023 * h,),
                 plain(person.skin)),
        ]
    return parts


def _legs(person: Person, joints: dict) -> list:
    h, b = person.height, person.build
    parts = []
    for side in SIDES:
        hip, knee, ankle, toe = (
            joints[name, side] for name in ('hip', 'knee', 'ankle', 'toe'))
        thigh, shin = leg_paints(person, side)
        parts += [
            Part(hip, knee, (0.057 * b * h, 0.054 * b * h, 0.042 * b * h), thigh),
            Part(knee, ankle, (0.04 * b * h, 0.038 * b * h, 0.028 * h), shin),
            Part(ankle, toe, (0.026 * h, 0.02 * h), plain(person.shoes)),
        ]
    return parts + _skirt(person, joints)


def _skirt(person: Person, joints: dict) -> list:
    h, b = person.height, person.build
    if person.lower_kind == 'skirt':
        # It follows the legs: as wide in front as the stride at its hem.
        spread = np.abs(joints['knee', 1][:, 0] - joints['knee', -1][:, 0]).max()
        hem = _offset(joints['pelvis'], 0.02, 0, -0.23 * h)
        wide = 0.122 * b * h
        return [Part(joints['pelvis'], hem, (0.105 * b * h, 0.116 * b * h, wide),
                     plain(person.lower), max(0.9, (0.45 * spread + 0.03 * h) / wide),
                     0.1)]
    if person.lower_kind == 'shorts':
        return [
            Part(joints['hip', side],
                 0.15 * joints['hip', side] + 0.85 * joints['knee', side],
                 (0.066 * b * h, 0.064 * b * h), plain(person.lower), 1, 0.4)
            for side in SIDES
        ]
    return []


def _bags(person: Person, joints: dict) -> list:
    parts = []
    h = person.height
    if person.backpack is not None:
        back = -(0.075 * person.belly + 0.05) * h
        flap = masked(person.backpack, [
            (lambda surface: surface.along < 0.25,
             tuple(0.7 * value for value in person.backpack))])
        parts.append(Part(
            _offset(joints['chest'], back, 0, -0.02 * h),
            _offset(joints['chest'], back, 0, -0.19 * h),
            (0.07 * h, 0.082 * h, 0.08 * h), flap, 0.72, 0.35))
    if person.handbag is not None:
        parts += _handbag(person, joints)
    return parts


def _handbag(person: Person, joints: dict) -> list:
    h, side, paint = person.height, person.side, plain(person.handbag)
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
    h, paint = person.height, plain(person.hat)
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
    gores = masked(person.umbrella, [
        (lambda surface: np.sin(4 * around(surface)) > 0, light)])
    return [
        Part(_offset(centre, 0, 0, 0.1 * h), wrist, (0.008 * h,),
             plain((60, 60, 62))),
        Part(centre, _offset(centre, 0, 0, -0.01 * h), (0.3 * h,), gores, 1, 0.42,
             True),
    ]


def build_figure(person: Person, phase: np.ndarray) -> list:
    """All parts of a walking person.

    Args:
        person: Who walks.
        phase: (T,) phases of the stride, radians.

    Returns:
        Parts, to be drawn in any order.
    """
    joints = pose_body(person, phase)
    return [
        part for build in (_trunk, _head, _arms, _legs, _bags, _hat, _umbrella)
        for part in build(person, joints)
    ]


def draw_figure(canvas: Canvas, person: Person, phase: np.ndarray, view: View,
                is_target: bool = False) -> None:
    """Draw a walking person over the frames, in place.

    Args:
        canvas: T frames.
        person: Who walks.
        phase: (T,) phases of the stride, radians.
        view: Where and which way.
        is_target: Whether this is the person of interest.
    """
    for part in build_figure(person, phase):
        draw_part(canvas, part, view, is_target)
