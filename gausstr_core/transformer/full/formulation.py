"""Which GaussTR: what the released code computes, what the paper writes, or a mixture."""

from __future__ import annotations

from dataclasses import dataclass, fields

CHOICES = {
    'self_attention': ('camera', 'scene'),
    'position': ('image', 'mean'),
    'rotation': ('camera', 'refined'),
    'scale': ('predicted', 'refined'),
    'regress': ('twice', 'once'),
    'depth_border': ('zeros', 'repeat'),
}


@dataclass(frozen=True)
class Formulation:
    """The options in which the released code and the paper differ; each stands alone.

    The defaults are the released ones: with them, and only with them, the public checkpoints
    reproduce.

    Raises:
        ValueError: an option has no such setting.
    """

    self_attention: str = 'camera'  # among one camera's queries, or across the whole 'scene'
    position: str = 'image'  # sine code of the image point, or of the 3D 'mean'
    rotation: str = 'camera'  # the camera's own, or 'refined' from it by every layer
    scale: str = 'predicted'  # from scratch by every head, or 'refined' by every layer
    regress: str = 'twice'  # the head moves the point that the decoder has moved, or 'once'
    depth_border: str = 'zeros'  # depth around the image: 0 m, or the border 'repeat'ed

    def __post_init__(self) -> None:
        for field in fields(self):
            value, allowed = getattr(self, field.name), CHOICES[field.name]
            if value not in allowed:
                raise ValueError(
                    f'formulation option {field.name} must be one of {", ".join(allowed)}, '
                    f'got {value!r}'
                )


RELEASED = Formulation()
PAPER = Formulation('scene', 'mean', 'refined', 'refined', 'once', 'repeat')
FORMULATIONS = {'released': RELEASED, 'paper': PAPER}
