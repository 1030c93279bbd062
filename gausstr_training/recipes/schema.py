"""What a recipe may say: every number of a training run, with the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from gausstr_core.transformer.full.formulation import FORMULATIONS

FEATURES = ('talk2dino', 'featup', 'maskclip')
PRECISIONS = ('fp32', 'bf16', 'fp16')
SCHEDULES = ('cosine', 'step')


@dataclass(frozen=True)
class StageRecipe:
    """One stage of training.

    Raises:
        ValueError: a number is out of range, or the numbers contradict each other.
    """

    learning_rate: float
    steps: int = 0  # how long; or
    epochs: float = 0.0  # over the frames of the stage
    frames: int = 1  # whole rigs per step, of all processes together
    views: int = 6  # images per step where a stage takes single images, of all together
    streets: tuple[float, float] = (0.0, 1.0)  # from which to which share of the data
    warmup: int = 100  # steps of linear warm-up
    warmup_start: float = 0.0  # share of the learning rate at step 0; 0: 1 / warmup
    schedule: str = 'cosine'  # after the warm-up: half a cosine to zero, or 'step'
    milestones: tuple[float, ...] = ()  # of 'step': shares of the stage; each is times `gamma`
    gamma: float = 0.1
    weight_decay: float = 5e-3  # as the released configs
    clip: float = 35.0  # L2 norm of the gradient, as the released configs

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.epochs > 0):
            raise ValueError(
                f'expected steps or epochs > 0, not both, got {self.steps} and {self.epochs}'
            )
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f'schedule must be one of {", ".join(SCHEDULES)}, got {self.schedule!r}'
            )
        if not all(0 < share < 1 for share in self.milestones):
            raise ValueError(f'milestones are shares between 0 and 1, got {self.milestones}')
        for name in ('learning_rate', 'frames', 'views', 'clip'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be > 0, got {getattr(self, name)}')

    def steps_over(self, frames: int) -> int:
        """How many steps the stage has on so many frames."""
        return self.steps or max(1, round(self.epochs * frames / self.frames))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all recipes have."""

    name: str = ''
    about: str = ''  # one line for `gausstr-train --list`
    seed: int = 0
    checkpoint_every: int = 100  # steps
    keep: int = 3  # newest checkpoints that are not deleted
    log_every: int = 10  # steps
    validate_every: int = 500  # steps, where there are frames to validate on
    picture_every: int = 500  # steps
    ema: float = 0.0  # decay per step of the averaged weights, which the run ends in; 0: none

    def __post_init__(self) -> None:
        for name in ('checkpoint_every', 'keep', 'log_every', 'validate_every', 'picture_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be >= 1, got {getattr(self, name)}')
        if not 0 <= self.ema < 1:
            raise ValueError(f'ema must be at least 0 and below 1, got {self.ema}')


@dataclass(frozen=True)
class AugmentationRecipe:
    """What a step of the compact training does to its views.

    Raises:
        ValueError: the zoom is below one.
    """

    zoom: float = 1.0  # up to how many times a window of the image is enlarged; 1: never
    sensor: bool = False  # gamma, vignetting, blur, noise and JPEG on top of light and colour

    def __post_init__(self) -> None:
        if not 1 <= self.zoom < float('inf'):
            raise ValueError(f'zoom must be at least 1, got {self.zoom}')


@dataclass(frozen=True, kw_only=True)
class CompactRecipe(Recipe):
    """A preset of our own: the foundation network, the transformer on top of it, then both."""

    preset: str
    foundation: StageRecipe
    transformer: StageRecipe
    joint: StageRecipe
    rendering: tuple[int, int] = (90, 160)  # (height, width) of the splatted images
    reduced_dims: int = 32  # PCA dimensions of the splatted features; the released model has 128
    depth_limit: float = 51.2  # metres; farther pixels carry no depth loss
    depth_weight: float = 8.0  # of the foundation network's depth: it is what limits the map
    feature_weight: float = 5.0  # of the cosine loss, as the released model
    map_weight: float = 10.0  # of the carving loss, occupied against free; 0 in the paper
    class_weight: float = 5.0  # of the carving loss, the mean over the classes; 0 in the paper
    temporal_weight: float = 0.0  # of the frames before and after; 0: none
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    synthesize: str = ''  # the command that makes the data
    recorded: float = 0.0  # share of the draws that are frames of one's own bags; 0: no bags
    frozen_norms: bool = False  # batch norms keep the statistics that the weights came with

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.recorded <= 1:
            raise ValueError(f'recorded must be a share from 0 to 1, got {self.recorded}')


@dataclass(frozen=True)
class ModelSizes:
    """Of the full-size transformer, see `FullConfig`; the defaults are the released ones."""

    queries: int = 300  # per view
    layers: int = 3
    dim: int = 256
    heads: int = 8
    hidden: int = 2048
    dropout: float = 0.1
    reduced: int = 128  # PCA dimensions of the splatted features
    segments: int = 0  # classes of the segmentation head; 0: none


@dataclass(frozen=True, kw_only=True)
class FullRecipe(Recipe):
    """The published model on frames of bags, taught by frozen foundation networks.

    Raises:
        ValueError: a name is unknown, or nothing is left to learn from.
    """

    features: str  # 'talk2dino', 'featup' or 'maskclip': what is read and aligned with
    stage: StageRecipe
    formulation: str = 'released'  # or 'paper'
    model: ModelSizes = field(default_factory=ModelSizes)
    input_size: tuple[int, int] = (0, 0)  # (height, width); 0: what the networks are made for
    depth_weight: float = 1.0
    feature_weight: float = 1.0  # times the released 5; 0: depth alone
    segment_weight: float = 1.0
    temporal_weight: float = 0.0  # of the frames before and after; 0: none
    neighbour_gap: float = 0.6  # seconds to a neighbour, at most
    period: float = 0.4  # seconds between frames, at least, of bags that name no keyframes
    precision: str = 'fp16'  # of the transformer under autocast; splatting and losses are fp32
    views_at_once: int = 2  # splatted images in memory at a time
    validation_frames: int = 64  # at most

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {
            'features': FEATURES,
            'precision': PRECISIONS,
            'formulation': tuple(FORMULATIONS),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f'{name} must be one of {", ".join(known)}, got {getattr(self, name)!r}'
                )
        weights = (self.depth_weight, self.feature_weight, self.segment_weight)
        if min(*weights, self.temporal_weight) < 0 or not any(weights[:2]):
            raise ValueError(
                'weights must be >= 0, and that of depth or of features > 0, got depth_weight, '
                f'feature_weight, segment_weight = {weights}, '
                f'temporal_weight = {self.temporal_weight}'
            )
        if self.views_at_once < 1:
            raise ValueError(f'views_at_once must be >= 1, got {self.views_at_once}')

    @property
    def preset(self) -> str:
        """The preset that reads the weights."""
        return 'talk2dino' if self.features == 'talk2dino' else 'featup'
