"""Augmentation keeps images, targets and rig in agreement, and repeats itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.camera.rig import CameraRig
from gausstr_training.bags import photometry
from gausstr_training.compact.augmentation import augmented, mirrored, zoomed
from gausstr_training.compact.batch import Batch
from gausstr_training.recipes import AugmentationRecipe

HEIGHT, WIDTH = 90, 120


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _wall() -> Batch:
    """Three cameras before a slanted wall that is striped with depth and class; sky above it."""
    intrinsics = torch.tensor([[126.0, 0, 60.5], [0, 126.0, 47.0], [0, 0, 1]]).repeat(3, 1, 1)
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, :3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[:, 2, 3] = 1.5
    rig = CameraRig(('a', 'b', 'c'), intrinsics, pose, ((HEIGHT, WIDTH),) * 3)
    u = (torch.arange(WIDTH) + 0.5 - 60.5) / 126
    depth = (8.0 / (1 + 0.5 * u)).expand(HEIGHT, WIDTH).clone()  # the plane z = 8 - x / 2
    depth[:20] = 0
    v = torch.arange(HEIGHT)[:, None].expand(HEIGHT, WIDTH)
    semantics = torch.where(depth > 0, v // 30, 16).to(torch.uint8)
    ramp = torch.linspace(0, 255, WIDTH).expand(HEIGHT, WIDTH)
    down = torch.linspace(0, 255, HEIGHT)[:, None].expand(HEIGHT, WIDTH)
    image = torch.stack([ramp, down, torch.full_like(ramp, 90.0)], dim=-1).to(torch.uint8)
    return Batch(image.repeat(3, 1, 1, 1), depth.repeat(3, 1, 1), semantics.repeat(3, 1, 1), rig)


def _points(batch: Batch) -> torch.Tensor:
    """Where each pixel's depth puts it, [N, H, W, 3]; the camera itself where it sees sky."""
    row, column = torch.meshgrid(
        torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing='ij'
    )
    pixels = torch.stack([column, row], -1).reshape(1, -1, 2).expand(3, -1, -1)
    return batch.rig.unproject(pixels, batch.depth.flatten(1)).reshape(3, HEIGHT, WIDTH, 3)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), most=st.floats(1.05, 3.0))
def test_zoomed_views_see_the_same_wall(seed: int, most: float) -> None:
    before = _wall()
    after = zoomed(before, most, _seeded(seed))
    solid = after.depth > 0
    x, y, _ = _points(after)[solid].unbind(-1)
    # the wall is the plane z = 8 - x / 2 of the camera: x = 8 + y / 2 in the ego frame
    away = (x - 8 - y / 2).abs()
    assert away.quantile(0.98) < 2e-3
    assert away.max() < 0.08  # beside the sky and at the border: that of the nearest pixel
    # colours and classes are those of the place that the point projects to in the old view
    for view in range(3):
        pixels, _ = before.rig.project(_points(after)[view][solid[view]])
        u, v = pixels[view].unbind(-1)
        shown = after.images[view][solid[view]].float()
        inside = (u > 1) & (u < WIDTH - 1) & (v > 21) & (v < HEIGHT - 1)
        torch.testing.assert_close(
            shown[inside, 0], 255 * (u[inside] - 0.5) / (WIDTH - 1), atol=1.6, rtol=0
        )
        torch.testing.assert_close(
            shown[inside, 1], 255 * (v[inside] - 0.5) / (HEIGHT - 1), atol=3.0, rtol=0
        )
        clear = inside & ((v % 30 > 1) & (v % 30 < 29))
        assert torch.equal(
            after.semantics[view][solid[view]][clear], (v[clear] / 30).to(torch.uint8)
        )


def test_zoom_enlarges_some_views_and_mixes_no_edges() -> None:
    before = _wall()
    zooms = []
    for seed in range(12):
        after = zoomed(before, 1.6, _seeded(seed))
        zooms += (after.rig.intrinsics[:, 0, 0] / 126).tolist()
        assert torch.equal(after.depth == 0, after.semantics == 16)
        assert after.depth[after.depth > 0].min() >= before.depth[before.depth > 0].min() - 1e-4
    assert all(1 <= zoom <= 1.6 for zoom in zooms)
    assert 0.3 < sum(zoom == 1 for zoom in zooms) / len(zooms) < 0.7
    assert max(zooms) > 1.5


def test_a_view_that_is_not_zoomed_stays_as_it_was() -> None:
    before = _wall()
    after = zoomed(before, 1.0 + 1e-9, _seeded(0))
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.semantics, before.semantics)
    torch.testing.assert_close(after.depth, before.depth)
    assert torch.equal(after.rig.intrinsics, before.rig.intrinsics)


def test_mirrored_twice_is_the_same() -> None:
    before = _wall()
    twice = mirrored(mirrored(before))
    assert torch.equal(twice.images, before.images) and torch.equal(twice.depth, before.depth)
    torch.testing.assert_close(twice.rig.ego_from_camera, before.rig.ego_from_camera)


def test_the_same_generator_gives_the_same_batch() -> None:
    recipe = AugmentationRecipe(zoom=1.5, sensor=True)
    once, again = (augmented(_wall(), recipe, _seeded(3)) for _ in range(2))
    other = augmented(_wall(), recipe, _seeded(4))
    assert torch.equal(once.images, again.images) and torch.equal(once.depth, again.depth)
    assert not torch.equal(once.images, other.images)


def test_a_zoom_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r'zoom must be at least 1, got 0\.5'):
        AugmentationRecipe(zoom=0.5)


def _photo(count: int = 64) -> torch.Tensor:
    """Images with edges and with flat parts."""
    image = torch.full((32, 48, 3), 90.0)
    image[8:24, 12:36] = torch.tensor([200.0, 160.0, 60.0])
    return image.to(torch.uint8).repeat(count, 1, 1, 1)


@pytest.mark.parametrize('change', [photometry.photometric, photometry.degraded])
def test_images_keep_their_shape_and_most_of_their_content(change: object) -> None:
    assert callable(change)
    before = _photo()
    after = change(before, _seeded(0))
    assert after.shape == before.shape and after.dtype == torch.uint8
    inner = after[:, 13:19, 18:30].float().mean((1, 2))
    outer = torch.cat([after[:, :4], after[:, -4:]], 1).float().mean((1, 2))
    assert ((inner[:, 0] - outer[:, 0]) > 15).all()  # the rectangle is still there
    assert len({tuple(row) for row in inner.round().tolist()}) > 32  # and each image is its own


def test_jpeg_touches_its_share_and_keeps_colours() -> None:
    before = _photo(200)
    after = photometry.recompressed(before, _seeded(1), share=0.4)
    touched = (after != before).flatten(1).any(1)
    assert 0.25 < touched.float().mean() < 0.55
    assert (after.float() - before.float()).abs().mean() < 6
    red = after[touched][:, 12:20, 16:32, 0].float().mean()
    assert red == pytest.approx(200, abs=8)  # red and blue have not changed places


def test_blur_and_noise_do_what_they_are_called() -> None:
    x = _photo().permute(0, 3, 1, 2).float() / 255
    blurred = photometry._blurred(x, _seeded(2))
    steps = [(y[..., 1:] - y[..., :-1]).abs().amax((1, 2, 3)) for y in (x, blurred)]
    softer = steps[1] < 0.9 * steps[0]
    assert 0.3 < softer.float().mean() < 0.7
    torch.testing.assert_close(blurred.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=0.01, rtol=0)
    noisy = photometry._noisy(x, _seeded(2))
    spread = (noisy - x).std((1, 2, 3))
    assert spread.min() < 0.004 and 0.01 < spread.max() < photometry.LOUDEST
