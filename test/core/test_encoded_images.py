"""What was seen camera by camera, put together and taken apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import FoundationMaps
from gausstr_core.encoded_images import EncodedImages


def seen(names: str, *, measured: bool = False) -> EncodedImages:
    count, random = len(names), torch.Generator().manual_seed(len(names))
    codes = torch.randn(count, 3, 4, 5, generator=random)
    depth = 1 + torch.rand(count, 8, 10, generator=random)
    maps = FoundationMaps(codes, depth, torch.eye(6, 4))
    rig = CameraRig(
        tuple(names),
        torch.tensor([[9.0, 0, 5], [0, 9.0, 4], [0, 0, 1]]).repeat(count, 1, 1),
        torch.eye(4).repeat(count, 1, 1),
        ((8, 10),) * count,
    )
    return EncodedImages(maps, depth > 1.5 if measured else None, rig, {'foundation': 0.5 * count})


@pytest.mark.parametrize('measured', [False, True])
def test_what_is_taken_apart_joins_to_what_it_was(measured: bool):
    whole = seen('ABC', measured=measured)
    parts = whole.split()
    assert [part.rig.names for part in parts] == [('A',), ('B',), ('C',)]
    assert [part.seconds for part in parts] == [{'foundation': 0.5}] * 3
    joined = EncodedImages.join(parts)
    assert torch.equal(joined.maps.features, whole.maps.features)
    assert torch.equal(joined.maps.depth, whole.maps.depth)
    assert (joined.known is None) == (not measured)
    assert not measured or torch.equal(joined.known, whole.known)
    assert joined.rig.names == whole.rig.names and joined.seconds == whole.seconds
    assert torch.equal(joined.rig.intrinsics, whole.rig.intrinsics)


def test_the_pose_of_the_set_takes_the_place_of_the_own_one():
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[:, 0, 3] = torch.tensor([1.0, 2.0])
    moved = seen('AB').posed(poses)
    assert moved.rig.ego_from_camera[:, 0, 3].tolist() == [1, 2]
    assert moved.rig.ego_from_camera.dtype == torch.float32
    poses[1, 0, 0] = float('nan')
    with pytest.raises(ValueError, match='camera B'):
        seen('AB').posed(poses)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match='at least one camera'):
        EncodedImages.join([])
    with pytest.raises(ValueError, match='measured depth for all 2 parts or for none'):
        EncodedImages.join([seen('A', measured=True), seen('B')])
    with pytest.raises(ValueError, match='A more than once'):
        EncodedImages.join([seen('A'), replace(seen('A'))])
