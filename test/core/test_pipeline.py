"""The whole core in one call, on the tiny preset."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import VoxelGrid
from gausstr_core.device_memory import DeviceMemory
from gausstr_core.measured_depth import with_measured_depth
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.transformer.reference_points import QueryGrid
from gausstr_core.transformer.surface_gaussians import SurfaceGaussians
from gausstr_core.transformer.transformer import GaussianTransformer
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_core.vocabulary.vocabulary import Category, Vocabulary
from gausstr_core.voxels.rules import CalibratedRule, drop_sky

GRID = VoxelGrid((-16, -16, -1), (16, 16, 5.4), 0.4)
SIZES = ((60, 100), (48, 80))


def rig() -> CameraRig:
    poses, matrices = [], []
    for (height, width), yaw in zip(SIZES, (0.0, 2.0), strict=True):
        c, s = np.cos(yaw), np.sin(yaw)
        pose = np.eye(4)
        pose[:3, :3] = [[s, 0, c], [-c, 0, s], [0, -1, 0]]
        pose[2, 3] = 1.5
        poses.append(pose)
        focal = 0.8 * width
        matrices.append([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return CameraRig(
        ('left', 'right'),
        torch.tensor(matrices, dtype=torch.float32),
        torch.tensor(np.stack(poses), dtype=torch.float32),
        SIZES,
    )


def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in SIZES]


def flat_ground_depth() -> list[np.ndarray]:
    """True z-depth of flat ground for both cameras, NaN above the horizon."""
    planes = []
    for height, width in SIZES:
        below = (np.arange(height) + 0.5 - height / 2)[:, None] / (0.8 * width)
        with np.errstate(divide='ignore'):
            depth = np.where(below > 0.02, 1.5 / below, np.nan)
        planes.append(np.broadcast_to(depth, (height, width)).astype(np.float32))
    return planes


@pytest.fixture(scope='module')
def pipeline() -> OccupancyPipeline:
    return OccupancyPipeline.from_preset('tiny', grid=GRID, weights='untrained')


@pytest.fixture(scope='module')
def vocabulary() -> Vocabulary:
    return Vocabulary.from_yaml()


def test_result_is_consistent(pipeline: OccupancyPipeline, vocabulary: Vocabulary) -> None:
    result = pipeline.run(images(), rig(), vocabulary)
    occupancy = result.occupancy
    assert occupancy.labels.shape == GRID.shape
    occupied = occupancy.labels >= 0
    assert (occupancy.labels < len(vocabulary)).all()
    assert not (occupied & ~occupancy.observed).any()
    assert ((occupancy.confidence > 0) == occupied).all()
    assert occupancy.confidence.max() <= 1
    assert result.probabilities.shape == (len(result.gaussians), len(vocabulary))
    assert set(result.seconds) >= {'foundation', 'transformer', 'vocabulary', 'voxels'}


def test_same_input_same_map(pipeline: OccupancyPipeline, vocabulary: Vocabulary) -> None:
    first = pipeline.run(images(), rig(), vocabulary).occupancy
    again = pipeline.run(images(), rig(), vocabulary).occupancy
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.density, again.density)


def test_measured_depth_places_the_ground(
    pipeline: OccupancyPipeline, vocabulary: Vocabulary
) -> None:
    """Occupied voxels lie in the layer of the ground, and nothing starts on unknown pixels."""
    result = pipeline.run(images(), rig(), vocabulary, depth=flat_ground_depth())
    # half a pixel of resampling, where the ground is last known
    assert result.gaussians.means[:, 2].abs().max() < 1.5 * 0.5 / (0.8 * SIZES[1][1]) / 0.02
    height_of_voxel = GRID.centers()[..., 2][result.occupancy.labels >= 0]
    assert len(height_of_voxel) > 100
    assert height_of_voxel.abs().max() < 0.5


@pytest.mark.parametrize('times', [1, 3, 5])
def test_depth_is_read_in_the_middle_of_a_pixel(pipeline: OccupancyPipeline, times: int) -> None:
    """Plain 'nearest' takes the corner: ground at 36 m comes out 1.4 m too far."""
    height, width = pipeline.model.foundation.input_size
    rows = torch.arange(1.0, times * height + 1)[:, None].expand(-1, times * width)
    maps, small = pipeline.foundation_maps(images(), rig())
    found, known, surface = with_measured_depth(maps, [rows, rows], small)
    middle = torch.arange(height) * times + (times + 1) / 2
    assert (
        known.all()
        and surface.all()
        and torch.equal(found.depth[0], middle[:, None].expand(-1, width))
    )


def test_below_zero_the_view_is_free_and_nothing_starts(
    pipeline: OccupancyPipeline, vocabulary: Vocabulary
) -> None:
    ground = flat_ground_depth()
    seen = pipeline.run(images(), rig(), vocabulary, depth=ground)
    free = pipeline.run(images(), rig(), vocabulary, depth=[-plane for plane in ground])
    assert len(seen.gaussians) > 0 == len(free.gaussians)
    occupied = seen.occupancy.labels >= 0
    assert free.occupancy.observed.any() and (free.occupancy.labels == -1).all()
    assert torch.equal(free.occupancy.observed | occupied, seen.occupancy.observed)


def test_a_finer_lattice_has_more_gaussians(vocabulary: Vocabulary) -> None:
    fine = OccupancyPipeline.from_preset(
        'tiny', grid=GRID, weights='untrained', lattice=QueryGrid(20, 30, 5)
    )
    everywhere = [np.full(size, 4.0, np.float32) for size in SIZES]
    encoded = fine.encode(images(), rig(), depth=everywhere)
    assert len(fine.gaussians(encoded)) == 2 * 20 * 30 * 25


def test_the_measured_start_is_the_untrained_transformer(pipeline: OccupancyPipeline) -> None:
    """The twin that runs all layers: none of them takes a step before it has learned one."""
    twin = OccupancyPipeline.from_preset('tiny', weights='untrained').model.transformer
    assert isinstance(twin, GaussianTransformer)
    maps, small = pipeline.foundation_maps(images(), rig())
    fast = SurfaceGaussians(twin.feature_dim, twin.query_grid)(maps, small)
    with torch.inference_mode():
        slow = twin(maps, small, measured=True)
    for name in ('means', 'scales', 'rotations', 'opacities', 'features'):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), atol=1e-5, rtol=1e-5)


def test_nothing_measured_means_nothing_observed(
    pipeline: OccupancyPipeline, vocabulary: Vocabulary
) -> None:
    nothing = [np.full(size, np.nan, dtype=np.float32) for size in SIZES]
    result = pipeline.run(images(), rig(), vocabulary, depth=nothing)
    assert len(result.gaussians) == 0
    assert not result.occupancy.observed.any()
    assert (result.occupancy.labels == -1).all()


def test_sky_is_left_out_whether_named_or_not() -> None:
    encoder = TextEncoder.default()
    features = encoder.encode(['sky', 'car', 'clouds'])
    pipeline = OccupancyPipeline.from_preset('tiny', weights='untrained')
    with torch.inference_mode():
        found = pipeline.model.transformer(*pipeline.foundation_maps(images(), rig()))
    gaussians = found.select(torch.arange(3))
    gaussians = type(gaussians)(
        gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, features
    )
    for categories in (
        [Category('car'), Category('road')],
        [Category('sky', role='sky'), Category('car')],
    ):
        kept, probabilities = drop_sky(gaussians, Vocabulary.build(categories))
        assert len(kept) == 1
        best = categories[int(probabilities[0].argmax())]
        assert best.name == 'car'
        assert probabilities.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda pictures: pictures[:1], 'expected 2 images'),
        (lambda pictures: [pictures[0], pictures[0]], 'camera right: expected a uint8 RGB'),
        (lambda pictures: [pictures[0].astype(np.float32), pictures[1]], 'camera left'),
    ],
)
def test_images_that_do_not_fit_are_named(
    pipeline: OccupancyPipeline, vocabulary: Vocabulary, change: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipeline.run(change(images()), rig(), vocabulary)  # type: ignore[operator]


def test_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CPU instead of a requested GPU."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match='cuda'):
        OccupancyPipeline.from_preset('tiny', device='cuda', weights='untrained')


def test_settings_reach_the_map(vocabulary: Vocabulary) -> None:
    def occupied(threshold: float) -> int:
        pipeline = OccupancyPipeline.from_preset('tiny', grid=GRID, weights='untrained')
        rule = CalibratedRule(occupied_threshold=threshold)
        encoded = pipeline.encode(images(), rig(), depth=flat_ground_depth())
        result = pipeline.map(encoded, vocabulary, rule)
        return int((result.occupancy.labels >= 0).sum())

    assert occupied(0.1) > occupied(0.5) > occupied(50.0) == 0


def test_a_cycle_after_leaving_and_entering_the_device_is_the_same(
    pipeline: OccupancyPipeline, vocabulary: Vocabulary
) -> None:
    """Where the device is main memory: that nothing is lost, and a second time does no harm."""
    before = pipeline.run(images(), rig(), vocabulary).occupancy
    memory = DeviceMemory(pipeline)
    for step in (memory.leave, memory.leave, memory.enter, memory.enter):
        step()
    encoded = pipeline.encode(images(), rig())
    after = pipeline.map(encoded, vocabulary).occupancy
    assert torch.equal(before.labels, after.labels)
    assert torch.equal(before.density, after.density)


def test_lower_asks_for_less_in_two_steps_and_the_first_changes_no_map(
    vocabulary: Vocabulary,
) -> None:
    lowered = OccupancyPipeline.from_preset('tiny', grid=GRID, weights='untrained')
    memory = DeviceMemory(lowered)
    sizes: list[int] = []
    lowered.model.foundation.register_forward_pre_hook(
        lambda _, given: sizes.append(len(given[0]))
    )
    full = lowered.run(images(), rig(), vocabulary).occupancy
    assert memory.lower() == 'the network encodes one camera at a time'
    single = lowered.run(images(), rig(), vocabulary).occupancy
    assert sizes == [2, 1, 1]
    torch.testing.assert_close(single.density, full.density)
    assert (single.labels == full.labels).float().mean() > 0.999
    assert memory.lower() == 'one camera at a time, and voxels of 0.8 m'
    coarse = lowered.run(images(), rig(), vocabulary).occupancy
    assert coarse.grid == VoxelGrid(GRID.lower, GRID.upper, 0.8)
    assert coarse.labels.shape == tuple(cells // 2 for cells in GRID.shape)
    assert (coarse.labels >= 0).any() == (full.labels >= 0).any()
    assert memory.lower() is None


def test_lower_leaves_a_grid_that_does_not_halve() -> None:
    odd = VoxelGrid((-2, -2, -1), (2, 2, 0.2), 0.4)  # three layers
    lowered = OccupancyPipeline.from_preset('tiny', grid=odd, weights='untrained')
    memory = DeviceMemory(lowered)
    assert memory.lower() is not None
    assert memory.lower() is None
    assert lowered.grid == odd


@pytest.mark.gpu
@pytest.mark.parametrize('preset', ['tiny', 'compact'])
def test_leaving_the_device_frees_its_memory_and_coming_back_changes_nothing(preset: str) -> None:
    start = torch.cuda.memory_allocated()
    weights = 'untrained' if preset == 'tiny' else None
    made = OccupancyPipeline.from_preset(preset, 'cuda', GRID, weights)
    words = made.load_vocabulary()
    before = made.run(images(), rig(), words).occupancy.labels.cpu()
    loaded = torch.cuda.memory_allocated()
    size = sum(p.numel() * p.element_size() for p in made.model.parameters())
    memory = DeviceMemory(made)
    memory.leave()
    assert loaded - torch.cuda.memory_allocated() >= size > 0
    assert all(p.device.type == 'cpu' for p in made.model.parameters())
    torch._C._cuda_clearCublasWorkspaces()  # cuBLAS' own, whatever is loaded; torch counts them
    left = torch.cuda.memory_allocated() - start
    print(f'{preset}: {loaded / 2**20:.1f} MiB loaded, {left / 2**20:.2f} MiB left')
    assert left < 2**20
    memory.enter()
    assert torch.equal(made.run(images(), rig(), words).occupancy.labels.cpu(), before)


@pytest.mark.parametrize(('resolution', 'count'), [(0.4, 2 * 24 * 4), (0.2, 2 * 315 * 16)])
def test_fine_voxels_get_the_surface_that_the_network_sees(resolution: float, count: int) -> None:
    """The transformer learned to thicken surfaces for voxels of 0.4 m."""
    grid = VoxelGrid((-4, -4, -1), (4, 4, 3), resolution)
    fine = OccupancyPipeline.from_preset('tiny', weights='untrained', grid=grid)
    encoded = fine.encode(images(), rig())
    assert encoded.known is None and len(fine.gaussians(encoded)) == count
    assert len(fine.gaussians(encoded, 0.2)) == 2 * 315 * 16
    fine.map(encoded, fine.load_vocabulary())
