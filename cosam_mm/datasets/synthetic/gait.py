"""Where the joints of a walking body are, from the phase of its stride alone.

Coordinates of the body are metres: forward, to its left, up from the ground. Legs
swing as sines half a cycle apart, the knee bends while its leg swings forward, the
arms swing against the legs, and the lower foot stands on the ground.
"""
import numpy as np

from .person import Person

SIDES = (1, -1)  # left, right
_ANKLE_HEIGHT = 0.045  # share of the height, as all lengths below


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


def pose_body(person: Person, phase: np.ndarray) -> dict:
    """Pose a walking person.

    Args:
        person: Who walks.
        phase: (T,) phases of the stride in radians, two pi a full stride.

    Returns:
        Joint name to (T, 3): ``pelvis``, ``chest`` (between the shoulders),
        ``head`` (its centre), and ``hip``, ``knee``, ``ankle``, ``toe``,
        ``shoulder``, ``elbow``, ``wrist`` as keys (name, side), side 1 left, -1
        right.
    """
    legs = {side: _leg(person, phase + (0 if side > 0 else np.pi), side)
            for side in SIDES}
    lowest = np.minimum(legs[1]['ankle'][:, 2], legs[-1]['ankle'][:, 2])
    up = np.zeros((len(phase), 3))
    up[:, 2] = _ANKLE_HEIGHT * person.height - lowest
    joints = {(name, side): place + up
              for side in SIDES for name, place in legs[side].items()}
    lean = np.array([np.sin(person.lean), 0, np.cos(person.lean)])
    joints['pelvis'] = up
    joints['chest'] = up + (0.815 - person.leg_share) * person.height * lean
    joints['head'] = up + (0.925 - person.leg_share) * person.height * lean
    for side in SIDES:
        shoulder = joints['chest'] + [
            0, side * 0.108 * person.build * person.height, -0.012 * person.height]
        arm = _arm(person, phase + (0 if side > 0 else np.pi), side, shoulder)
        joints.update({(name, side): place for name, place in arm.items()})
    return joints
