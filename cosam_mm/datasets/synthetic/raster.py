"""Round solids on a canvas with a depth for every pixel, all frames at once.

A part is a rounded rod with a varying, elliptic cross-section: limb, torso, head,
bag. Its pixels come from one formula, with the direction its surface faces, so that
cloth can have a pattern around the body and light a side.
"""
from typing import Callable, NamedTuple

import numpy as np

__all__ = ['Canvas', 'Paint', 'Part', 'Surface', 'View', 'render_part']


class View(NamedTuple):
    """How a body stands before the camera, T frames."""

    yaw: np.ndarray  # (T,) radians; 0 walks to the right, pi/2 to the camera
    scale: np.ndarray  # (T,) pixels a metre
    origin: np.ndarray  # (T, 2) pixel x, y of the ground under the body
    pitch: float  # angle at which the camera looks down, radians
    roll: float  # tilt of the image, radians
    depth: float  # metres towards the camera from the person of interest
    light: tuple  # right, up, towards the camera; share of light without a direction


class Surface(NamedTuple):
    """Where n visible points lie on their part, each (n,)."""

    forward: np.ndarray  # how much the surface faces the body's front, -1 to 1
    left: np.ndarray  # how much it faces the body's left
    along: np.ndarray  # 0 at the first end, 1 at the second
    end: np.ndarray  # in a rounded end: to -1 beyond the first, to 1 beyond the second


Paint = Callable[[Surface], np.ndarray]  # gives RGB (n, 3)


class Part(NamedTuple):
    """A rounded rod of a body, in the body's coordinates, metres."""

    first: np.ndarray  # (T, 3) one end
    second: np.ndarray  # (T, 3) the other end
    profile: tuple  # half widths to the sides from first to second, evenly spaced
    paint: Paint
    ratio: float = 1.0  # half width to the front as a share of that to the side
    flat: float = 1.0  # height of the rounded ends as a share of the width there
    dome: bool = False  # only the rounded end beyond ``first``


class Canvas(NamedTuple):
    """What is rendered so far."""

    colour: np.ndarray  # RGB (T, H, W, 3)
    depth: np.ndarray  # (T, H, W), metres towards the camera
    is_target: np.ndarray  # (T, H, W), whether the pixel shows the person of interest


def _project(points: np.ndarray, view: View) -> np.ndarray:
    """Points of a body, (T, 3) metres: forward, left, up, in the image.

    (T, 3): x and y in pixels, depth in metres towards the camera.
    """
    forward, left, up = points.T
    cos, sin = np.cos(view.yaw), np.sin(view.yaw)
    x, towards = forward * cos + left * sin, forward * sin - left * cos
    y = up * np.cos(view.pitch) - towards * np.sin(view.pitch)
    cos, sin = np.cos(view.roll), np.sin(view.roll)
    return np.stack([
        view.origin[:, 0] + view.scale * (x * cos - y * sin),
        view.origin[:, 1] - view.scale * (x * sin + y * cos),
        view.depth + towards * np.cos(view.pitch) + up * np.sin(view.pitch)], axis=-1)


def _box(first, second, reach, shape) -> tuple:
    """Slices of the rows and columns that a part can touch in any frame."""
    ends = np.stack([first[:, :2], second[:, :2]])
    low = np.floor((ends.min(axis=0) - reach[:, None]).min(axis=0)).astype(int)
    high = np.ceil((ends.max(axis=0) + reach[:, None]).max(axis=0)).astype(int) + 1
    (left, top), (right, bottom) = np.maximum(low, 0), np.maximum(high, 0)
    return slice(top, min(bottom, shape[1])), slice(left, min(right, shape[2]))


class _Rod(NamedTuple):
    """A part in the image; the last three for each pixel of its box (T, h, w)."""

    axis: np.ndarray  # (T, 2), unit
    side: np.ndarray  # across the axis, -1 to 1 on the part
    along: np.ndarray  # 0 to 1
    end: np.ndarray  # as in Surface
    width: np.ndarray  # half width there, metres


def _per_frame(values: np.ndarray) -> np.ndarray:
    """(T,) to float32 (T, 1, 1)."""
    return values.astype(np.float32)[:, None, None]


def _measure(part: Part, ends: tuple, across: np.ndarray, box: tuple) -> _Rod:
    """Coordinates of the pixels of a box (slices) relative to a part.

    ``ends`` are the part's two projected ends (T, 3); ``across`` (T,) are the pixels
    for a metre of half width.
    """
    axis = ends[1][:, :2] - ends[0][:, :2]
    length = np.hypot(*axis.T)
    axis[length < 1e-3] = 0, 1e-3  # seen end on, or a ball: any direction will do
    length = np.maximum(length, 1e-3)
    axis = axis / length[:, None]
    row, column = (np.arange(span.start, span.stop, dtype=np.float32) for span in box)
    x = column + np.float32(0.5) - _per_frame(ends[0][:, 0])
    y = row[:, None] + np.float32(0.5) - _per_frame(ends[0][:, 1])
    run = x * _per_frame(axis[:, 0]) + y * _per_frame(axis[:, 1])
    along = np.clip(run / _per_frame(length), 0, 1)
    profile = np.asarray(part.profile, np.float32)
    width = np.interp(along, np.linspace(0, 1, len(profile)), profile)
    width = width.astype(np.float32)
    radius = _per_frame(across) * width
    side = (x * _per_frame(axis[:, 1]) - y * _per_frame(axis[:, 0])) / radius
    end = (run - along * _per_frame(length)) / (radius * np.float32(part.flat))
    return _Rod(axis, side, along, end, width)


def _shade(view: View, axis: np.ndarray, side: np.ndarray, end: np.ndarray,
           bulge: np.ndarray) -> np.ndarray:
    """Light on points that face (side, end, bulge) of an axis (n, 2), all (n,)."""
    right = side * axis[:, 1] + end * axis[:, 0]
    down = end * axis[:, 1] - side * axis[:, 0]
    *direction, ambient = view.light
    lit = right * direction[0] - down * direction[1] + bulge * direction[2]
    return ambient + (1 - ambient) * np.maximum(lit, 0)


def render_part(canvas: Canvas, part: Part, view: View, is_target: bool) -> None:
    """Render a part of a body in some view where nothing nearer is, in place.

    ``is_target`` says whether its pixels belong to the person of interest.
    """
    ends = _project(part.first, view), _project(part.second, view)
    cos, sin = np.cos(view.yaw), np.sin(view.yaw)
    # Half axes of the elliptic cross-section across and along the line of sight.
    across = view.scale * np.hypot(sin, part.ratio * cos)
    towards = np.hypot(cos, part.ratio * sin)
    reach = across * max(part.profile) * max(1, part.flat)
    rows, columns = _box(*ends, reach, canvas.depth.shape)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    rod = _measure(part, ends, across, (rows, columns))
    bulge = 1 - rod.side**2 - rod.end**2
    inside = (bulge > 0) & (rod.end < 0) if part.dome else bulge > 0
    bulge = np.sqrt(np.maximum(bulge, 0))
    depth = (_per_frame(ends[0][:, 2]) + bulge * rod.width * _per_frame(towards)
             + rod.along * _per_frame(ends[1][:, 2] - ends[0][:, 2]))
    seen = inside & (depth > canvas.depth[:, rows, columns])
    frame = np.nonzero(seen)[0]
    side, along, end, bulge = (
        values[seen] for values in (rod.side, rod.along, rod.end, bulge))
    cos, sin = cos[frame], sin[frame]
    surface = Surface(side * cos + bulge * sin, side * sin - bulge * cos, along, end)
    shade = _shade(view, rod.axis[frame], side, end, bulge)
    canvas.depth[:, rows, columns][seen] = depth[seen]
    canvas.colour[:, rows, columns][seen] = part.paint(surface) * shade[:, None]
    canvas.is_target[:, rows, columns][seen] = is_target
