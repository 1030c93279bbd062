"""Supervision over time on streets: neighbours lie where this frame sees them, mirrored or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gausstr_core.transformer.build import build
from gausstr_core.vocabulary.text_encoder import TextEncoder
from gausstr_training import synthesize
from gausstr_training.compact.batch import Batch
from gausstr_training.compact.draws import DrawnRigs
from gausstr_training.compact.frames import FrameStore
from gausstr_training.compact.stages import TransformerStage
from gausstr_training.compact.teacher import RendererTeacher
from gausstr_training.losses.temporal import seen_from
from gausstr_training.recipes import CompactRecipe, read_recipe

LIMIT = 30.0  # metres


@pytest.fixture(scope='module')
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    folder = tmp_path_factory.mktemp('streets')
    synthesize.main(
        [
            *('--seed', '10000', '--streets', '2', '--frames', '3', '--no-voxels'),
            *('--size', '112x64', '--output', str(folder)),
        ]
    )
    return FrameStore([folder], 48, 80)


def recipe(**changes: object) -> CompactRecipe:
    found = read_recipe('tiny')
    assert isinstance(found, CompactRecipe)
    everything = replace(found.transformer, streets=(0.0, 1.0))
    return replace(found, transformer=everything, **changes)


def agreeing(near: Batch, own: Batch) -> float:
    """Share of the neighbour's pixels whose point this frame sees at the same place."""
    far = [torch.where(batch.depth > 0, batch.depth, torch.inf) for batch in (near, own)]
    return seen_from(far[0], near.rig, far[1], own.rig, LIMIT).float().mean().item()


def test_first_and_last_frames_have_one_neighbour(store: FrameStore) -> None:
    counts = sorted(len(store.neighbours(position, 0)) for position in range(len(store)))
    assert counts == [1, 1, 1, 1, 2, 2]


def test_neighbours_lie_in_the_ego_frame_of_the_frame(store: FrameStore) -> None:
    right, still = [], []
    for position in range(len(store)):
        own = store.frame(position, 0)
        for near in store.neighbours(position, 0):
            right.append(agreeing(near, own))
            still.append(agreeing(replace(near, rig=own.rig), own))  # as if the car stood still
    assert min(right) > 0.4 and sum(right) > 1.2 * sum(still)


def test_a_mirror_stands_before_all_frames_or_none(store: FrameStore) -> None:
    teacher = RendererTeacher(TextEncoder.default())
    draws = DrawnRigs(store, teacher, recipe(temporal_weight=0.5))
    shares = [agreeing(near, draws[i].batch) for i in range(6) for near in draws[i].near]
    plain = [
        agreeing(near, store.frame(i, 0)) for i in range(6) for near in store.neighbours(i, 0)
    ]
    assert len(shares) == 8 and shares == pytest.approx(plain, abs=0.02)
    assert not DrawnRigs(store, teacher, recipe())[0].near


def test_neighbours_change_the_gradient_and_bring_the_loss_down(store: FrameStore) -> None:
    model, teacher = build('tiny'), RendererTeacher(TextEncoder.default())
    stage = TransformerStage(model, store, teacher, recipe(temporal_weight=0.5))
    alone = TransformerStage(model, store, teacher, recipe())
    more, less = (s.loss(s.pieces(0)[0])[0].item() for s in (stage, alone))
    assert more > less
    optimiser = torch.optim.AdamW(stage.module.parameters(), lr=3e-3)
    seen = []
    for step in range(12):
        loss, _ = stage.loss(stage.pieces(step)[0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert sum(seen[-4:]) < sum(seen[:4])
