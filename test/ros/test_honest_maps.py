"""Every subset of six cameras: unseen is unknown, and occupied is where a camera looks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('embreex')

import torch
from image_messages import camera_info, raw
from street_frames import StreetCycle, street_cycle

from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Occupancy, VoxelGrid
from gausstr_core.encoded_images import EncodedImages
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_core.pipeline import OccupancyPipeline
from gausstr_core.vocabulary.vocabulary import Vocabulary
from gausstr_core.voxels.rules import TOPIC
from gausstr_core.voxels.visibility import viewed_and_observed, with_neighbours
from gausstr_ros.cycle.build import rule_in_force
from gausstr_ros.cycle.steps import encode_set, join_set
from gausstr_ros.listening.depth_pairing import Shot
from gausstr_ros.listening.rig_source import CameraInputs, ImageInputs
from gausstr_ros.messages.grids_and_clouds import band_slice, occupancy_grid
from gausstr_ros.messages.stamps import header_message
from gausstr_ros.sets.limits import Grouping
from gausstr_ros.sets.synchroniser import ImageSet, Synchroniser
from gausstr_ros.settings.settings import read_settings

GRID = VoxelGrid()
BAND = (0.2, 2.2)
SKY = 1000.0  # metres: a depth sensor that knows the sky to be far away


@dataclass(frozen=True)
class Scene:
    cycle: StreetCycle
    shots: dict[str, Shot]

    def inputs(self, cameras) -> dict[str, CameraInputs]:
        found = {}
        for camera in cameras:
            matrix = self.cycle.intrinsics(camera).copy()
            matrix[:2, 2] -= 0.5
            info = camera_info(320, 180, k=matrix.ravel())
            mount = self.cycle.ego_from_camera(camera, self.cycle.stamps[camera])
            pose = self.cycle.ego_from_camera(camera, self.cycle.stamp)
            found[camera] = CameraInputs(ImageInputs(info, mount), pose)
        return found

    def truth(self, cameras) -> tuple[torch.Tensor, torch.Tensor]:
        """What the cameras look at and what they see, by the exact depth."""
        depth = np.stack([self.cycle.views[c].depth for c in cameras])
        poses = [self.cycle.ego_from_camera(c, self.cycle.stamp) for c in cameras]
        rig = CameraRig(
            tuple(cameras),
            torch.from_numpy(np.stack([self.cycle.intrinsics(c) for c in cameras])).float(),
            torch.from_numpy(np.stack(poses)).float(),
            ((180, 320),) * len(cameras),
        )
        seen = np.where(depth > 0, depth, np.inf).astype(np.float32)
        return viewed_and_observed(torch.from_numpy(seen), rig, GRID)

    def encode(
        self, images: ImageSet, pipeline: OccupancyPipeline, *, measured: bool
    ) -> EncodedImages:
        inputs = self.inputs(images.stamps)
        return join_set(encode_set(pipeline, images, inputs, measured_depth=measured)).encoded


@pytest.fixture(scope='module')
def scene() -> Scene:
    cycle = street_cycle(5)
    shots = {
        name: Shot(
            raw(view.image, 'rgb8'),
            raw(np.where(view.depth > 0, view.depth, SKY).astype(np.float32), '32FC1'),
        )
        for name, view in cycle.views.items()
    }
    return Scene(cycle, shots)


@pytest.fixture(scope='module')
def compact() -> OccupancyPipeline:
    return OccupancyPipeline.from_preset('compact')


@pytest.fixture(scope='module')
def tiny() -> OccupancyPipeline:
    pipeline = OccupancyPipeline.from_preset('tiny', weights='untrained')
    pipeline.model.foundation.input_size = (180, 320)  # so that no depth is left out
    return pipeline


@pytest.fixture(scope='module')
def encoded_alone(scene: Scene, tiny: OccupancyPipeline) -> dict[str, EncodedImages]:
    """Each camera by itself with exact depth: what its part of every set would be."""
    found = {}
    for camera in NUSCENES_CAMERAS:
        (images,) = sets_of(scene, [camera])
        found[camera] = scene.encode(images, tiny, measured=True)
    return found


def sets_of(scene: Scene, cameras) -> list[ImageSet]:
    """What the node's synchroniser gives out when only these cameras send."""
    sync = Synchroniser(Grouping(NUSCENES_CAMERAS, 0.06, 0.3))
    sets = []
    for camera in cameras:
        sets += sync.add(camera, scene.cycle.stamps[camera], scene.shots[camera])
    return sets + sync.poll(0) + sync.poll(10**9)


def share(mask: torch.Tensor) -> float:
    return mask.float().mean().item()


def test_every_subset_of_the_cameras_maps_only_what_it_sees(
    scene: Scene, tiny: OccupancyPipeline, encoded_alone: dict[str, EncodedImages]
):
    """Found here: Gaussians at the rim of an image filled voxels up to 2.8 m outside of it."""
    vocabulary, agreements = tiny.load_vocabulary(), []
    for count in range(7):
        for cameras in combinations(NUSCENES_CAMERAS, count):
            sets = sets_of(scene, cameras)
            if not cameras:
                assert sets == []
                continue
            (images,) = sets
            assert images.missing == tuple(c for c in NUSCENES_CAMERAS if c not in cameras)
            encoded = EncodedImages.join([encoded_alone[camera] for camera in images.stamps])
            found = tiny.map(encoded, vocabulary).occupancy
            viewed, observed = scene.truth(cameras)
            occupied = found.labels >= 0
            assert occupied.any() and not (found.observed & ~with_neighbours(viewed)).any()
            assert not (occupied & ~found.observed).any()
            assert share(found.observed & ~occupied & ~observed) < 1e-5, 'free, and not seen'
            assert torch.equal(found.confidence > 0, occupied)
            agreements.append(share(found.observed == observed))
            assert_honest_grid(found, vocabulary)
    print(
        f'{len(agreements) + 1} subsets: the observed voxels agree with the truth for '
        f'{min(agreements):.1%} to {max(agreements):.1%}, {np.mean(agreements):.1%} on average'
    )
    assert len(agreements) == 63 and min(agreements) >= 0.95


def assert_honest_grid(found: Occupancy, vocabulary: Vocabulary) -> None:
    """The 2D map knows nothing where nothing was seen at the heights that it shows."""
    header = header_message(0, 'base_link')
    message = occupancy_grid(found, vocabulary.categories, BAND, header)
    cells = np.array(message.data, np.int8).reshape(200, 200).T
    seen = found.observed[:, :, band_slice(GRID, BAND)].any(-1).numpy()
    assert (cells[~seen] == -1).all() and (cells[seen] >= 0).any()


def test_with_the_depth_of_the_network(scene: Scene, compact: OccupancyPipeline):
    """The rule is the same, the depth is not exact: shown, and bounded from below."""
    (images,) = sets_of(scene, NUSCENES_CAMERAS)
    encoded = scene.encode(images, compact, measured=False)
    found = compact.map(encoded, compact.load_vocabulary()).occupancy
    viewed, observed = scene.truth(NUSCENES_CAMERAS)
    occupied = found.labels >= 0
    assert not ((occupied | found.observed) & ~with_neighbours(viewed)).any()
    agreement, free = share(found.observed == observed), found.observed & ~occupied
    print(
        f'six cameras, depth of the network: {agreement:.1%} agree with the truth, '
        f'{(free & ~observed).sum() / free.sum():.1%} of the free voxels were not seen'
    )
    assert agreement >= 0.9


def test_a_missing_camera_takes_only_its_part_away(
    scene: Scene, tiny: OccupancyPipeline, encoded_alone: dict[str, EncodedImages]
):
    vocabulary = tiny.load_vocabulary()
    complete = tiny.map(EncodedImages.join(list(encoded_alone.values())), vocabulary).occupancy
    for missing in NUSCENES_CAMERAS:
        others = [part for name, part in encoded_alone.items() if name != missing]
        partial = tiny.map(EncodedImages.join(others), vocabulary).occupancy
        lost = complete.observed & ~partial.observed
        viewed, _ = scene.truth([missing])
        assert share(lost) > 0.001
        # what its Gaussians filled beyond its view
        assert share(lost & ~viewed) < 0.005


def test_a_higher_threshold_leaves_only_what_is_denser(
    tiny: OccupancyPipeline, encoded_alone: dict[str, EncodedImages]
):
    settings = read_settings(
        {
            'preset': 'tiny',
            'weights': 'untrained',
            'depth_source': 'topic',
            'map.occupied_threshold': 3.0,
        }
    )
    strict = rule_in_force(tiny, settings)
    assert strict.threshold_at(0.4) == 3.0 > tiny.rule_for(TOPIC).threshold_at(0.4)
    encoded, vocabulary = encoded_alone['CAM_FRONT'], tiny.load_vocabulary()
    few, many = (
        tiny.map(encoded, vocabulary, rule).occupancy.labels >= 0 for rule in (strict, None)
    )
    dense = tiny.map(encoded, vocabulary).occupancy.density > 3.0
    assert torch.equal(few, many & dense) and 0 < few.sum() < many.sum()


def test_a_set_encoded_at_once_is_that_encoded_camera_by_camera(
    scene: Scene, tiny: OccupancyPipeline, encoded_alone: dict[str, EncodedImages]
):
    """What the tests above rely on."""
    (images,) = sets_of(scene, NUSCENES_CAMERAS)
    at_once = scene.encode(images, tiny, measured=True)
    parts = EncodedImages.join(list(encoded_alone.values()))
    assert torch.equal(at_once.maps.depth, parts.maps.depth)
    assert torch.equal(at_once.maps.features, parts.maps.features)
    assert torch.equal(at_once.rig.ego_from_camera, parts.rig.ego_from_camera)
