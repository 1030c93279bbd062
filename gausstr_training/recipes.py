"""Recipes: every number of a training run, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from gausstr_training.augmentation import ViewAugmentation


@dataclass(frozen=True)
class StageRecipe:
    """One stage of training."""

    steps: int
    views: int  # images per step
    learning_rate: float
    streets: tuple[float, float] = (0.0, 1.0)  # from which to which share of the data
    warmup: int = 100  # steps of linear warm-up; a half cosine to zero follows
    weight_decay: float = 5e-3  # as the released configs
    clip: float = 35.0  # L2 norm of the gradient, as the released configs


@dataclass(frozen=True)
class Recipe:
    """A whole run: the foundation network, the transformer on top of it, frozen, then both."""

    preset: str
    foundation: StageRecipe
    transformer: StageRecipe
    joint: StageRecipe
    seed: int = 0
    rendering: tuple[int, int] = (90, 160)  # (height, width) of the splatted images
    reduced_dims: int = 32  # PCA dimensions of the splatted features; the released model has 128
    depth_limit: float = 51.2  # metres; farther pixels carry no depth loss
    depth_weight: float = 8.0  # of the foundation network's depth: it is what limits the map
    feature_weight: float = 5.0  # of the cosine loss, as the released model
    map_weight: float = 10.0  # of the carving loss, occupied against free; 0 in the paper
    class_weight: float = 5.0  # of the carving loss, the mean over the classes; 0 in the paper
    augmentation: ViewAugmentation = field(default_factory=ViewAugmentation)
    checkpoint_every: int = 100  # steps
    synthesize: str = field(default='')  # the command that makes the data


RECIPES: dict[str, Recipe] = {
    'compact': Recipe(
        preset='compact',
        foundation=StageRecipe(
            steps=9000, views=6, learning_rate=2e-3, streets=(0, 0.85), clip=5.0
        ),
        # on the other streets: there the foundation network errs as it will on new ones
        transformer=StageRecipe(steps=1200, views=6, learning_rate=5e-4, streets=(0.85, 1)),
        joint=StageRecipe(steps=600, views=6, learning_rate=2e-4, streets=(0.85, 1), clip=10.0),
        rendering=(45, 80),
        augmentation=ViewAugmentation(zoom=1.4, sensor=True),
        synthesize='gausstr-synthesize --seed 10000 --streets 640 --frames 1 --no-voxels '
        '--workers 2 --output data/train && gausstr-synthesize --seed 11000 --streets 320 '
        '--frames 1 --no-voxels --randomise --workers 2 --output data/varied',
    ),
    # what the tests run: seconds, no meaning
    'tiny': Recipe(
        preset='tiny',
        foundation=StageRecipe(steps=4, views=6, learning_rate=1e-3, streets=(0, 0.5), warmup=2),
        transformer=StageRecipe(steps=4, views=6, learning_rate=1e-3, streets=(0.5, 1), warmup=2),
        joint=StageRecipe(steps=4, views=6, learning_rate=1e-4, streets=(0.5, 1), warmup=2),
        rendering=(24, 40),
        reduced_dims=8,
        checkpoint_every=2,
        synthesize='gausstr-synthesize --seed 10000 --streets 2 --frames 1 --no-voxels '
        '--output data/tiny',
    ),
}
