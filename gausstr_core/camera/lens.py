"""How a camera with a real lens projects: the distortion models of ROS' CameraInfo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

PLUMB_BOB, RATIONAL, EQUIDISTANT = 'plumb_bob', 'rational_polynomial', 'equidistant'
# How many coefficients each model has; '' is a pinhole. Drivers send more under the first two
# names, and OpenCV takes 8, 12 (thin prism) and 14 (tilted sensor) of them, whatever the name.
_COEFFICIENTS = {PLUMB_BOB: 5, RATIONAL: 8, EQUIDISTANT: 4, '': 0}
_LONGER = {PLUMB_BOB: (8, 12, 14), RATIONAL: (12, 14)}
_STEPS = 2048  # radii at which a lens is checked for folding


@dataclass(frozen=True)
class Lens:
    """How one camera projects, distortion included. Equal lenses hash alike.

    Convention: pixel centres are at +0.5, while OpenCV and CameraInfo have them at 0.

    Raises:
        ValueError: an unknown model, coefficients that are not of the model, or a value that is
            not finite, or not > 0 where it must be.
    """

    model: str  # plumb_bob, rational_polynomial, equidistant, or empty for a pinhole
    # k1 k2 p1 p2 k3 (k4 k5 k6 (s1 s2 s3 s4 (tx ty))), or k1 k2 k3 k4; filled up with 0
    coefficients: tuple[float, ...]
    focal: tuple[float, float]  # x, y in pixels
    center: tuple[float, float]  # x, y of the principal point in pixels
    size: tuple[int, int]  # height, width in pixels

    def __post_init__(self) -> None:
        object.__setattr__(self, 'coefficients', _completed(self.model, self.coefficients))
        if not all(math.isfinite(value) for value in (*self.focal, *self.center)):
            raise ValueError(f'intrinsics must be finite, got {self.focal} and {self.center}')
        if not min(self.focal) > 0:
            raise ValueError(
                f'expected focal lengths > 0 pixels, got fx={self.focal[0]:g} fy={self.focal[1]:g}'
            )
        if not min(self.size) > 0:
            raise ValueError(f'image size must be > 0, got {self.size[0]}x{self.size[1]} (HxW)')

    @classmethod
    def build(
        cls,
        model: str,
        coefficients: Sequence[float],
        intrinsics: NDArray[np.float64],
        size: tuple[int, int],
    ) -> Lens:
        """The lens of an intrinsic matrix [3, 3], pixel centres at +0.5.

        Raises:
            ValueError: see the class; or the matrix is not fx 0 cx / 0 fy cy / 0 0 1.
        """
        (fx, skew, cx), (below, fy, cy), last = np.asarray(intrinsics, np.float64).tolist()
        if (skew, below, *last) != (0, 0, 0, 0, 1):
            raise ValueError(
                'intrinsics must be of the form fx 0 cx, 0 fy cy, 0 0 1, got '
                f'{np.asarray(intrinsics).tolist()}'
            )
        values = tuple(float(value) for value in coefficients)
        return cls(model, values, (fx, fy), (cx, cy), (int(size[0]), int(size[1])))

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight."""
        return self.model != EQUIDISTANT and not any(self.coefficients)

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """[3, 3], pixel centres at +0.5."""
        (fx, fy), (cx, cy) = self.focal, self.center
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def resized(self, height: int, width: int) -> Lens:
        """The lens of the same image at another size."""
        y, x = height / self.size[0], width / self.size[1]
        focal = self.focal[0] * x, self.focal[1] * y
        center = self.center[0] * x, self.center[1] * y
        return replace(self, focal=focal, center=center, size=(height, width))

    def project(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels [P, 2] (x, y) of rays [P, 2], the x / z and y / z of points in front of it."""
        if self.model == EQUIDISTANT:
            at = cv2.fisheye.distortPoints(rays[None], *self.for_opencv())[0]
        else:
            points = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
            at = cv2.projectPoints(points, np.zeros(3), np.zeros(3), *self.for_opencv())[0][:, 0]
        return at + 0.5

    def for_opencv(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The matrix [3, 3] with pixel centres at 0, and the coefficients."""
        matrix = self.intrinsics
        matrix[:2, 2] -= 0.5
        return matrix, np.array(self.coefficients)

    def reach(self, most: float) -> float:
        """The largest radius of a ray, r = tan(angle) <= most, up to which the lens is one to one.

        A polynomial that was fitted to the middle of an image may turn back towards its rim:
        beyond, it would show things twice.
        """
        radius = np.linspace(0.0, most, _STEPS)
        with np.errstate(over='ignore', invalid='ignore'):
            grows = np.diff(_distorted_radius(self, radius)) > 0
        return float(radius[-1] if grows.all() else radius[grows.argmin()])


def _completed(model: str, coefficients: Sequence[float]) -> tuple[float, ...]:
    """All coefficients of the model; zeros at the end may be left out or added."""
    if not all(math.isfinite(value) for value in coefficients):
        raise ValueError(f'distortion coefficients must be finite, got {list(coefficients)}')
    if model not in _COEFFICIENTS:
        known = ', '.join(name for name in _COEFFICIENTS if name)
        raise ValueError(f'distortion model must be one of {known}, or empty, got {model!r}')
    count, longer = _COEFFICIENTS[model], _LONGER.get(model, ())
    if any(coefficients[count:]) and len(coefficients) in longer:
        used = max(index for index, value in enumerate(coefficients) if value) + 1
        count = min(length for length in longer if length >= used)
    if any(coefficients[count:]) or (model == EQUIDISTANT and not len(coefficients)):
        counts = ' or '.join(str(length) for length in (count, *longer))
        raise ValueError(
            f'distortion model {model!r} has {counts} coefficients, got {list(coefficients)}'
        )
    return (*coefficients[:count], *[0.0] * (count - len(coefficients)))


def _distorted_radius(lens: Lens, radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far from the centre a ray lands at least, in focal lengths; -inf where it does not.

    Tangential distortion is left out.
    """
    if lens.model == EQUIDISTANT:
        angle = np.arctan(radius)
        square = angle * angle
        k1, k2, k3, k4 = lens.coefficients
        return angle * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
    k1, k2, _, _, k3, k4, k5, k6, s1, s2, s3, s4, tx, ty = (*lens.coefficients, *[0.0] * 9)[:14]
    square = radius * radius
    above = 1 + square * (k1 + square * (k2 + square * k3))
    below = 1 + square * (k4 + square * (k5 + square * k6))
    at = np.where(below > 0, radius * above / np.where(below > 0, below, 1.0), -np.inf)
    # a thin prism moves to one side, somewhere against the lens and somewhere with it
    prism = square * (math.hypot(s1, s3) + square * math.hypot(s2, s4))
    # a tilted sensor is a plane, which rays along it never hit
    facing = math.cos(tx) * math.cos(ty)
    aside = math.hypot(math.sin(ty), math.cos(ty) * math.sin(tx))
    return np.where(aside * (at + prism) < facing, at - prism, -np.inf)
