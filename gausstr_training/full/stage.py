"""The published training: splat the Gaussians of all three layers, align features and depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from gausstr_core.splatting import splat
from gausstr_core.transformer.full.gaussian_head import GaussianHead
from gausstr_core.transformer.full.transformer import FullTransformer
from gausstr_training.bags.dataset import BagDataset
from gausstr_training.bags.frame import BagFrame
from gausstr_training.bags.sampler import DrawnFrames, generator_at
from gausstr_training.engine.pictures import depth_picture, feature_picture
from gausstr_training.engine.stage import Stage
from gausstr_training.full.batch import Piece, Scene, Shared, scene_of, shared_by
from gausstr_training.full.layer_loss import LayerLoss
from gausstr_training.full.target_source import TargetSource
from gausstr_training.losses.paper import directions_of_moments, feature_moments
from gausstr_training.processes import ranks
from gausstr_training.processes.read_ahead import ReadAhead
from gausstr_training.recipes import FullRecipe, StageRecipe

BASIS_FRAMES = 32  # from which the segmentation head's fixed basis is taken
PRECISION = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class FullStage(Stage):
    """Frames of bags -> the loss of a full-size transformer.

    Args:
        transformer: what is trained, on its device.
        frames: to train on.
        validation: to validate on; None: nothing is validated.
        source: gives the targets, on the transformer's device.
        recipe: the numbers.
        precision: of the transformer under autocast: 'fp32', 'bf16' or 'fp16'.
        workers: processes that read frames.
    """

    name = 'splatting'

    def __init__(
        self,
        transformer: FullTransformer,
        frames: BagDataset,
        validation: BagDataset | None,
        source: TargetSource,
        recipe: FullRecipe,
        precision: str,
        workers: int = 0,
    ) -> None:
        self._transformer, self._source, self._recipe = transformer, source, recipe
        self._drawn = DrawnFrames(frames, len(frames), recipe.seed)
        self._ahead = ReadAhead(self._drawn, workers, ranks.count())
        self._size, self._validation = len(frames), validation
        self._segment_basis: Tensor | None = None
        self.precision = PRECISION[precision]

    @property
    def schedule(self) -> StageRecipe:
        """The recipe's only stage."""
        return self._recipe.stage

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.schedule.steps_over(self._size)

    @property
    def module(self) -> FullTransformer:
        """The transformer; the foundation networks stay as they are."""
        return self._transformer

    def pieces(self, step: int) -> Sequence[Piece]:
        """This process's frames of the step, with the basis and the counts of all."""
        self._transformer.train()
        if self._recipe.model.segments and self._segment_basis is None:
            self._segment_basis = self._fixed_basis()
        first = step * self.schedule.frames
        positions = range(first + ranks.rank(), first + self.schedule.frames, ranks.count())
        scenes = [self._scene(position, self._ahead.at(position)) for position in positions]
        shared = self._shared(scenes, everywhere=True)
        return [Piece(scene, shared) for scene in scenes]

    def loss(self, piece: Piece) -> tuple[Tensor, dict[str, float]]:
        """The piece's part of the losses of all layers."""
        position, views = piece.scene.position, len(piece.scene.own.rig)
        generator = generator_at(position, self._recipe.seed)
        wanted = (views, self._recipe.model.queries, 2)
        points = torch.rand(wanted, generator=generator).to(piece.shared.basis)
        with _own_randomness(generator, piece.shared.basis.device):
            return self._losses(piece, points)

    def close(self) -> None:
        """End the workers."""
        self._ahead.close()

    def extras(self) -> dict[str, Tensor]:
        """The segmentation head's basis, where there is one."""
        return {} if self._segment_basis is None else {'segment_basis': self._segment_basis}

    def restore(self, extras: Mapping[str, Tensor]) -> None:
        """Take over the basis."""
        if 'segment_basis' in extras:
            device = self._transformer.query_embeddings.device
            self._segment_basis = extras['segment_basis'].to(device)

    def validate(self) -> dict[str, float]:
        """Sums of each frame's own losses over this process's validation frames."""
        if self._validation is None:
            return {}
        self._transformer.eval()
        sums = {'frames': 0.0}
        chosen = _spread(len(self._validation), self._recipe.validation_frames)
        for index in chosen[ranks.rank() :: ranks.count()]:
            scene = self._scene(0, self._validation[index])
            loss, parts = self._losses(Piece(scene, self._shared([scene])), None)
            _add(sums, {'loss': loss.item(), **parts, 'frames': 1.0}, '')
        return sums

    def pictures(self) -> dict[str, Tensor]:
        """What the last layer shows of one frame, above what it should show."""
        self._transformer.eval()
        frame = self._drawn[0] if self._validation is None else self._validation[0]
        scene = self._scene(0, frame)
        basis, own = self._shared([scene]).basis, scene.own
        with self._lowered():
            last = self._transformer.refine(scene.maps, own.rig)[-1].gaussians
        reduced = replace(last, features=last.features @ basis)
        seen = splat(reduced, own.rig, *own.rig.image_sizes[0])
        wanted = torch.einsum('nchw,cd->ndhw', own.targets.features, basis)
        return {
            'features': feature_picture(seen.features, wanted),
            'depth': depth_picture(seen.depth, own.targets.depth, self._limit),
        }

    def _losses(self, piece: Piece, points: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """The piece's part of the loss; `points` [N, Q, 2] are where the queries look first."""
        scene, shared, recipe = piece.scene, piece.shared, self._recipe
        with self._lowered():
            outputs = self._transformer.refine(scene.maps, scene.own.rig, reference=points)
        total, parts = shared.basis.new_zeros(()), dict[str, float]()
        for index, output in enumerate(outputs):
            head = self._transformer.heads[index]
            assert isinstance(head, GaussianHead)
            layer = LayerLoss(
                output.gaussians, head, shared.basis, self._segment_basis, recipe, self._limit
            )
            loss, found = layer(scene.own, shared.own)
            total = total + loss
            _add(parts, found, f'/{index}')
            for views in scene.near:
                loss, found = layer(views, shared.near)
                total = total + recipe.temporal_weight * loss
                _add(parts, found, f'/near/{index}')
        return total, parts

    def _scene(self, position: int, frame: BagFrame) -> Scene:
        temporal = self._recipe.temporal_weight > 0
        return scene_of(position, frame, self._source, self._limit, temporal)

    def _shared(self, scenes: Sequence[Scene], *, everywhere: bool = False) -> Shared:
        dims = self._recipe.model.reduced
        return shared_by(scenes, dims, self._limit, everywhere=everywhere)

    @property
    def _limit(self) -> float:
        return self._transformer.config.depth_limit

    def _lowered(self) -> torch.autocast:
        kind = self._transformer.query_embeddings.device.type
        return torch.autocast(kind, dtype=self.precision, enabled=self.precision is not None)

    def _fixed_basis(self) -> Tensor:
        """[C, D] basis of the first frames of the training, the same in every process."""
        moments = torch.zeros(())
        for position in range(ranks.rank(), max(BASIS_FRAMES, ranks.count()), ranks.count()):
            moments = moments + feature_moments(self._source(self._drawn[position]).features)
        basis = directions_of_moments(ranks.summed(moments), self._recipe.model.reduced)
        return ranks.tensor_of_first(basis.float().contiguous())


def _add(sums: dict[str, float], parts: Mapping[str, float], ending: str) -> None:
    """Add parts up by name."""
    for name, value in parts.items():
        sums[name + ending] = sums.get(name + ending, 0.0) + value


@contextmanager
def _own_randomness(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Dropout that belongs to a draw, whichever process makes it."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        yield


def _spread(size: int, most: int) -> list[int]:
    """At most so many indices, evenly over all."""
    count = min(size, most)
    return [index * size // count for index in range(count)]
