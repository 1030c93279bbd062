"""Pictures drawn from the Gaussians, and which of them are made."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

import torch

from gausstr_core.camera.images import depth_image
from gausstr_core.camera.rig import CameraRig
from gausstr_core.contracts import Gaussians
from gausstr_core.vocabulary.vocabulary import Category
from gausstr_ros.cycle.steps import MappedSet
from gausstr_ros.messages.images import rgb_image
from gausstr_ros.publishing import drawn_views, outputs
from gausstr_ros.settings.settings import read_settings

WORDS = (Category('road', color=(10, 20, 30)), Category('car', color=(200, 100, 50)))
AHEAD = [[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
BACK = [[0.0, 0, -1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]


@pytest.fixture
def mapped():
    """A large ball, 0.7 car and 0.3 road, 10 m ahead; nothing behind."""
    gaussians = Gaussians(
        torch.tensor([[10.0, 0, 0]]), torch.full((1, 3), 4.0), torch.tensor([[1.0, 0, 0, 0]]),
        torch.tensor([0.8]), torch.zeros(1, 2),
    )  # fmt: skip
    intrinsics = torch.tensor([[40.0, 0, 20], [0, 40, 12], [0, 0, 1]]).repeat(2, 1, 1)
    rig = CameraRig(('A', 'B'), intrinsics, torch.tensor([AHEAD, BACK]), ((24, 40),) * 2)
    result = SimpleNamespace(
        gaussians=gaussians, probabilities=torch.tensor([[0.3, 0.7]]), rig=rig
    )
    return MappedSet(5, result, SimpleNamespace(categories=WORDS), {})


def made(mapped, *names, **values):
    settings = read_settings({'cameras': ['A', 'B', 'C'], **values})
    return dict(outputs.Outputs(settings).make(names, mapped))


def test_pictures_show_depth_words_and_activation_at_the_size_asked_for(mapped):
    names = ('A/depth', 'A/semantics', 'A/activation', 'B/semantics')
    chosen = {'activation_category': 'car', 'publish.image_scale': 0.25}
    found = made(mapped, *names, **chosen)
    assert list(found) == list(names)
    depth = depth_image(found['A/depth'])
    assert depth.shape == (6, 10) and np.isclose(depth[3, 5], 10.0)
    assert rgb_image(found['A/semantics'])[3, 5].tolist() == [200, 100, 50]
    assert not rgb_image(found['B/semantics']).any()
    # 0.7 of the ball's alpha, which is 0.8 in its middle, half a pixel from this pixel's centre
    activation = depth_image(found['A/activation'])
    assert 0.5 < activation[3, 5] < 0.7 * 0.8 and (activation <= activation[3, 5]).all()
    assert depth_image(made(mapped, 'A/depth')['A/depth']).shape == (12, 20)


def test_only_cameras_that_are_asked_for_and_seen_are_drawn_and_once(mapped, monkeypatch):
    drawn = []

    def spy(gaussians, rig, height, width):
        drawn.append(rig.names)
        return splat(gaussians, rig, height, width)

    splat = drawn_views.splat
    monkeypatch.setattr(drawn_views, 'splat', spy)
    assert list(made(mapped, 'B/depth', 'C/depth', 'B/semantics')) == ['B/depth', 'B/semantics']
    assert list(made(mapped, 'C/depth')) == []
    assert drawn == [('B',)]


def test_activation_is_offered_on_request_and_silent_without_its_category(mapped, caplog):
    assert 'A/activation' not in outputs.Outputs(read_settings({'cameras': ['A']})).types
    settings = read_settings({'cameras': ['A'], 'activation_category': 'tree'})
    offered = outputs.Outputs(settings)
    assert 'A/activation' in offered.types
    for _ in range(2):
        assert list(offered.make(['A/activation'], mapped)) == []
    (said,) = caplog.messages
    assert "activation_category 'tree' is none of road, car" in said
