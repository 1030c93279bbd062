"""Camera geometry: worked numbers, round trips, and refusals that name the camera."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import matrix_from_quaternion

numbers = st.floats(-1, 1, width=32)


def forward_pose() -> torch.Tensor:
    """ego_from_camera of a camera at the ego's origin that looks along x."""
    return torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def simple_rig(pose: torch.Tensor | None = None, focal: float = 100.0) -> CameraRig:
    intrinsics = torch.tensor([[[focal, 0, 80], [0, focal, 45], [0, 0, 1]]])
    pose = forward_pose() if pose is None else pose
    return CameraRig(('CAM_FRONT',), intrinsics, pose[None], ((90, 160),))


@st.composite
def rigs(draw: st.DrawFn) -> CameraRig:
    """One to three cameras anywhere, of different sizes and focal lengths, in float64."""
    count = draw(st.integers(1, 3))
    intrinsics, poses, sizes = [], [], []
    for _ in range(count):
        height, width = draw(st.integers(20, 900)), draw(st.integers(20, 1600))
        fx, fy = draw(st.floats(30, 1500)), draw(st.floats(30, 1500))
        intrinsics.append([[fx, 0.0, width * 0.45], [0.0, fy, height * 0.55], [0.0, 0.0, 1.0]])
        quaternion = torch.tensor([draw(numbers) for _ in range(4)], dtype=torch.float64)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = matrix_from_quaternion(quaternion + torch.tensor([1.5, 0, 0, 0]))
        pose[:3, 3] = 3 * torch.tensor([draw(numbers) for _ in range(3)], dtype=torch.float64)
        poses.append(pose)
        sizes.append((height, width))
    names = tuple(f'camera{index}' for index in range(count))
    intrinsics = torch.tensor(intrinsics, dtype=torch.float64)
    return CameraRig(names, intrinsics, torch.stack(poses), tuple(sizes))


def test_worked_projection() -> None:
    pixels, depth = simple_rig().project(torch.tensor([[10.0, 2.0, 1.0], [-5.0, 0, 0]]))
    assert torch.allclose(pixels[0, 0], torch.tensor([80 - 20.0, 45 - 10.0]))
    assert depth[0].tolist() == [10.0, -5.0]


@given(rigs(), st.floats(0.5, 90), st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_projecting_undoes_unprojecting(rig: CameraRig, reach: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(len(rig), 7, 2, generator=random, dtype=torch.float64) * 1000
    depth = reach * (0.1 + torch.rand(len(rig), 7, generator=random, dtype=torch.float64))
    points = rig.unproject(pixels, depth)
    for index in range(len(rig)):
        again, far = rig.project(points[index])
        assert torch.allclose(again[index], pixels[index], atol=1e-6)
        assert torch.allclose(far[index], depth[index], atol=1e-9)


@given(rigs())
@settings(max_examples=50, deadline=None)
def test_camera_from_ego_is_the_inverse(rig: CameraRig) -> None:
    identity = torch.eye(4, dtype=torch.float64).expand(len(rig), 4, 4)
    assert torch.allclose(rig.camera_from_ego @ rig.ego_from_camera, identity, atol=1e-9)


@given(rigs(), st.integers(4, 400), st.integers(4, 700))
@settings(max_examples=60, deadline=None)
def test_a_resized_rig_scales_the_pixels(rig: CameraRig, height: int, width: int) -> None:
    small = rig.resized(height, width)
    assert small.image_sizes == ((height, width),) * len(rig)
    points = 20 * torch.randn(9, 3, dtype=torch.float64)
    pixels, depth = rig.project(points)
    scaled, same_depth = small.project(points)
    ratio = torch.tensor([(width / w, height / h) for h, w in rig.image_sizes])
    ahead = depth > 0.1
    assert torch.allclose(scaled[ahead], (pixels * ratio[:, None])[ahead])
    assert torch.equal(depth, same_depth)


@given(rigs(), st.integers(-20, 50), st.integers(-20, 50))
@settings(max_examples=50, deadline=None)
def test_a_cropped_rig_shifts_the_pixels(rig: CameraRig, top: int, left: int) -> None:
    window = rig.cropped(top, left, 12, 16)
    assert window.image_sizes == ((12, 16),) * len(rig)
    points = 20 * torch.randn(9, 3, dtype=torch.float64)
    pixels, depth = rig.project(points)
    shifted = window.project(points)[0]
    ahead = depth > 0.1
    assert torch.allclose(shifted[ahead], (pixels - torch.tensor([left, top]))[ahead], atol=1e-6)


def test_halving_keeps_the_corner_of_four_pixels() -> None:
    rig = simple_rig()
    point = rig.unproject(torch.tensor([[[1.0, 1.0]]]), torch.ones(1, 1))[0]
    assert torch.allclose(
        rig.resized(45, 80).project(point)[0], torch.tensor([0.5, 0.5]), atol=1e-5
    )


def test_gradients_flow_through_a_point_on_the_camera_plane() -> None:
    points = torch.zeros(1, 3, requires_grad=True)
    pixels, depth = simple_rig().project(points)
    (pixels.sum() + depth.sum()).backward()
    assert torch.isfinite(points.grad).all()


def test_selecting_cameras() -> None:
    single = simple_rig()
    rig = CameraRig(
        ('a', 'b'), single.intrinsics.repeat(2, 1, 1), single.ego_from_camera.repeat(2, 1, 1),
        ((90, 160), (45, 80)),
    )  # fmt: skip
    assert rig.select(('b', 'a')).image_sizes == ((45, 80), (90, 160))
    with pytest.raises(ValueError, match='no camera c; the rig has a, b'):
        rig.select(('c',))


def broken(what: str) -> dict:
    rig = simple_rig()
    parts = {
        'names': rig.names,
        'intrinsics': rig.intrinsics.clone(),
        'ego_from_camera': rig.ego_from_camera.clone(),
        'image_sizes': rig.image_sizes,
    }
    if what == 'zero focal':
        parts['intrinsics'][0, 1, 1] = 0
    elif what == 'nan':
        parts['intrinsics'][0, 0, 2] = math.nan
    elif what == 'last row':
        parts['intrinsics'][0, 2, 0] = 1
    elif what == 'mirror':
        parts['ego_from_camera'][0, :3, 0] *= -1
    elif what == 'scaled':
        parts['ego_from_camera'][0, :3, :3] *= 1.1
    elif what == 'transposed':
        parts['ego_from_camera'][0, :3, 3] = 1
        parts['ego_from_camera'] = parts['ego_from_camera'].transpose(-1, -2)
    elif what == 'nowhere':
        parts['ego_from_camera'][0, 0, 3] = math.inf
    elif what == 'size':
        parts['image_sizes'] = ((0, 160),)
    return parts


@pytest.mark.parametrize(
    ('what', 'words'),
    [
        ('zero focal', 'focal lengths must be > 0 pixels, got fx=100 fy=0'),
        ('nan', 'intrinsics must be finite'),
        ('last row', 'last row of the intrinsics must be 0 0 1'),
        ('mirror', 'finite rigid transform'),
        ('scaled', 'finite rigid transform'),
        ('transposed', 'finite rigid transform'),
        ('nowhere', 'finite rigid transform'),
        ('size', 'image size must be > 0, got 0x160'),
    ],
)
def test_a_bad_camera_is_refused_by_name(what: str, words: str) -> None:
    with pytest.raises(ValueError, match=f'camera CAM_FRONT: .*{words}'):
        CameraRig(**broken(what))


def test_shapes_and_names_must_agree() -> None:
    rig = simple_rig()
    with pytest.raises(ValueError, match='at least one camera'):
        CameraRig((), rig.intrinsics, rig.ego_from_camera, ())
    with pytest.raises(ValueError, match=r'intrinsics must have shape \(2, 3, 3\) for 2 cameras'):
        CameraRig(('a', 'b'), rig.intrinsics, rig.ego_from_camera, rig.image_sizes)
    twice = [t.repeat(2, 1, 1) for t in (rig.intrinsics, rig.ego_from_camera)]
    with pytest.raises(ValueError, match='names must differ, got a more than once'):
        CameraRig(('a', 'a'), *twice, rig.image_sizes * 2)
