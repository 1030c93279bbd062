"""Released post-processing against the official code, twin against twin, and the 21 prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gausstr_core.contracts import VoxelGrid
from gausstr_core.vocabulary.vocabulary import Vocabulary, read_categories
from gausstr_core.voxels.released import released_voxels
from gausstr_core.voxels.released_labels import (
    FREE,
    LABELS,
    RELEASED_VOCABULARY,
    denoised_probabilities,
    merged_probabilities,
    prompt_owners,
    released_labels,
    released_owners,
    surviving_prompts,
)

pytestmark = pytest.mark.usefixtures('two_threads')
BACKENDS = ('reference', 'fast')


@pytest.fixture(scope='module')
def units(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / 'reference' / 'units.npz') as file:
        return {name: file[name] for name in file.files if name.startswith(('den', 'vox.'))}


def test_den_of_the_official_code(units: dict[str, np.ndarray]) -> None:
    for batch, out, merged in zip(
        units['den.in'], units['den.out'], units['den.merged'], strict=True
    ):
        features = torch.from_numpy(batch)
        probabilities = denoised_probabilities(features)
        torch.testing.assert_close(probabilities, torch.from_numpy(out), rtol=1e-5, atol=1e-7)
        assert 0 < surviving_prompts(features).sum() < 21
        ours = merged_probabilities(probabilities, released_owners())
        torch.testing.assert_close(ours, torch.from_numpy(merged), rtol=1e-5, atol=1e-7)
        _, fast = released_labels(
            torch.ones(features.shape[:3]), features, released_owners(), backend='fast'
        )
        torch.testing.assert_close(fast, torch.from_numpy(merged), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize(
    ('case', 'thresholds'), [('plain', (None, None)), ('filtered', (0.6, 0.015))]
)
def test_vox_preds_of_the_official_code(
    units: dict[str, np.ndarray], case: str, thresholds: tuple[float | None, ...], backend: str
) -> None:
    means, opacities, features, covariances = (
        torch.from_numpy(units[f'vox.{name}'])
        for name in ('means3d', 'opacities', 'features', 'cov')
    )
    density, voxels, _ = released_voxels(
        means, opacities[:, 0], features, covariances, VoxelGrid(),
        opacity_threshold=thresholds[0], covariance_threshold=thresholds[1], backend=backend,
    )  # fmt: skip
    labels, _ = released_labels(density, voxels, released_owners(), backend=backend)
    wrong = int((labels != torch.from_numpy(units[f'vox.{case}.preds'])).sum())
    assert wrong == 0 and (labels != FREE).sum() > 1000


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('case', ['small_talk2dino', 'small_featup'])
def test_predict_of_the_official_code(shared: Path, case: str, backend: str) -> None:
    folder = shared / 'reference'
    spec = json.loads((folder / f'{case}.meta.json').read_text())['spec']['small']
    grid = VoxelGrid(
        tuple(spec['vol_range'][:3]), tuple(spec['vol_range'][3:]), spec['voxel_size']
    )
    with np.load(folder / f'{case}.predict.npz') as file:
        arrays = {
            n: torch.from_numpy(file[n]) for n in file.files if n[:4] in ('voxe', 'merg', 'pred')
        }
    opacity, covariance = (None, None) if 'featup' in case else (0.6, 0.015)
    for sample in range(len(arrays['preds'])):
        given = {n: a[sample] for n, a in arrays.items()}
        density, features, kept = released_voxels(
            given['voxelizer.in.means3d'], given['voxelizer.in.opacities'][:, 0],
            given['voxelizer.in.features'], given['voxelizer.in.covariances'], grid,
            opacity_threshold=opacity, covariance_threshold=covariance, backend=backend,
        )  # fmt: skip
        assert torch.equal(kept, given.get('voxelizer.kept_mask', torch.ones_like(kept)))
        for ours, theirs in (
            (density, given['voxelizer.density'][..., 0]),
            (features, given['voxelizer.feats']),
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        labels, merged = released_labels(density, features, released_owners(), backend=backend)
        torch.testing.assert_close(merged, given['merged_probs'], rtol=1e-4, atol=1e-6)
        assert int((labels != given['preds']).sum()) == 0


@given(st.integers(0, 2**31), st.floats(0.5, 30))
@settings(max_examples=25, deadline=None)
def test_both_backends_agree(seed: int, spread: float) -> None:
    random = torch.Generator().manual_seed(seed)
    features = torch.softmax(spread * torch.randn(5, 4, 3, 21, generator=random), dim=-1)
    features[0] = 0  # empty space
    density = 0.1 * torch.rand(5, 4, 3, generator=random)
    labels, merged = released_labels(density, features, released_owners(), backend='reference')
    fast_labels, fast_merged = released_labels(
        density, features, released_owners(), backend='fast'
    )
    torch.testing.assert_close(merged, fast_merged, rtol=1e-5, atol=1e-7)
    top = merged.topk(2, dim=-1).values
    clear = top[..., 0] > top[..., 1] * (1 + 1e-5)
    assert torch.equal(labels[clear], fast_labels[clear])
    assert (labels[density <= 0.04] == FREE).all()


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_prompt_nobody_is_sure_of_is_struck_out_and_sky_is_free(backend: str) -> None:
    owners = torch.tensor([0, 1, 1, 2])
    features = torch.zeros(1, 1, 3, 4)
    # far behind the first prompt in its only voxel: the second is never sure
    features[0, 0, 0] = torch.tensor([0.55, 0.45, 0.0, 0.0])
    features[0, 0, 1] = torch.tensor([0.0, 0.0, 0.9, 0.0])
    features[0, 0, 2] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    # three prompts share an empty voxel's certainty, which is above 0.1: so none is left empty
    labels, merged = released_labels(
        torch.tensor([[[1.0, 0.04, 1.0]]]), features, owners, labels=(4, 9, FREE), backend=backend
    )
    assert labels.flatten().tolist() == [4, FREE, FREE]  # the second is not above the threshold
    softmax = torch.softmax(features, dim=-1)
    assert merged[0, 0, 0, 1] == pytest.approx(float(softmax[0, 0, 0, 2]))  # not that of prompt 1
    assert merged[0, 0, 1, 1] == pytest.approx(float(softmax[0, 0, 1, 2]))


def test_the_released_vocabulary_loads_and_groups_as_the_code_did() -> None:
    vocabulary = Vocabulary.from_yaml(RELEASED_VOCABULARY)
    assert len(vocabulary) == len(LABELS) == 16 and vocabulary.sky_columns == (15,)
    sizes = torch.bincount(prompt_owners(vocabulary.categories)).tolist()
    assert sizes == [1] * 12 + [2, 5, 1, 1]
    prompts = [p for c in read_categories(RELEASED_VOCABULARY) for p in c.prompts]
    assert len(set(prompts)) == 21 and prompts[13:18] == [
        'grass',
        'building',
        'wall',
        'fence',
        'pole',
    ]


def test_bad_shapes_are_refused() -> None:
    density, features = torch.ones(2, 2, 2), torch.ones(2, 2, 2, 21)
    for arguments, message in (
        ((density[0], features, released_owners()), r'density \[X, Y, Z\]'),
        ((density, features[..., :20], released_owners()), 'each of the 20 prompts'),
        ((density, features, torch.zeros(21, dtype=torch.int64)), 'categories 0..15'),
    ):
        with pytest.raises(ValueError, match=message):
            released_labels(*arguments)
    with pytest.raises(ValueError, match='backend'):
        released_labels(density, features, released_owners(), backend='cuda')
