"""The parameters of the node: one table, declared on the node and checked value by value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from gausstr_core.contracts import VoxelGrid
from gausstr_core.foundation.released import DEPTH_NETWORKS, ENGINES
from gausstr_core.nuscenes import NUSCENES_CAMERAS
from gausstr_core.presets import PRESETS, RULES
from gausstr_core.remembering import MemorySettings
from gausstr_core.surface_preset import WORDS
from gausstr_core.transformer.surface_gaussians import DENSE

_GRID = VoxelGrid()
_MEMORY = MemorySettings()


@dataclass(frozen=True)
class Parameter:
    """Name, default, meaning and range of one parameter; the type is that of the default."""

    name: str
    default: Any
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False  # may change while the node is configured, and holds from the next set on


PARAMETERS = (
    Parameter('preset', 'compact', 'Which model.', choices=tuple(sorted(PRESETS))),
    Parameter(
        'weights',
        '',
        'File of weights; empty: those that ship or are published; untrained: none, to measure.',
    ),
    Parameter(
        'weights_folder',
        '',
        'Where the published files of surface, talk2dino and featup lie; empty: fetched into the '
        'cache.',
    ),
    Parameter(
        'features',
        '',
        'Feature network of preset surface, with its words; empty: maskclip.',
        choices=('', *WORDS),
    ),
    Parameter(
        'depth_network',
        '',
        'Depth network of surface, talk2dino and featup; empty: metric3d-small for the first, '
        'metric3d for the others, none where depth is measured.',
        choices=('', *DEPTH_NETWORKS),
    ),
    Parameter(
        'input_size',
        [0, 0],
        'Height and width in pixels at which the feature network of these presets looks, '
        "multiples of its stride; 0 0: the network's own.",
    ),
    Parameter(
        'depth_size',
        [0, 0],
        "Height and width in pixels at which their depth network looks; 0 0: the network's own.",
    ),
    Parameter(
        'engine',
        ENGINES[0],
        'What runs these networks: torch, or onnxruntime with the files of gausstr-export.',
        choices=ENGINES,
    ),
    Parameter(
        'word_temperature',
        0.0,
        'Of the softmax over how like features and words are; 0: that of the words.',
        (0.0, 100.0),
    ),
    Parameter('device', 'cpu', 'Torch device, such as cpu or cuda:0; never replaced by another.'),
    Parameter('threads', 0, 'CPU threads of each half; 0: half of the cores.', (0, 1024)),
    Parameter('cameras', list(NUSCENES_CAMERAS), 'Names of the cameras, in the order of the rig.'),
    Parameter('image_transport', 'compressed', 'How images come.', choices=('raw', 'compressed')),
    Parameter(
        'image_reliability',
        'best_effort',
        'Reliability of the image subscriptions.',
        choices=('best_effort', 'reliable'),
    ),
    Parameter(
        'depth_source',
        'model',
        'model: the network; topic: depth images with the stamps of the images; lidar: clouds.',
        choices=('model', 'topic', 'lidar'),
    ),
    Parameter(
        'lidar.topic',
        '/lidar_top/points',
        'PointCloud2 of the lidar; of several lidars all their topics, separated by spaces.',
    ),
    Parameter(
        'lidar.max_age',
        0.15,
        'Seconds that a cloud may lie before or after an image.',
        (0.001, 10.0),
    ),
    Parameter(
        'lidar.sweeps',
        1,
        'Scans of each lidar that are joined for an image; more than one smear what moves.',
        (1, 50),
    ),
    Parameter(
        'surface.lattice',
        [DENSE.rows, DENSE.columns, DENSE.sub],
        'Rows and columns of cells in each view, and Gaussians along a side of a cell, where '
        'depth alone places them: with measured depth, and of preset surface. Thresholds were '
        'found for the default.',
    ),
    Parameter('base_frame', 'base_link', 'Frame of the outputs: x forward, y left, z up.'),
    Parameter(
        'fixed_frame',
        'odom',
        'Frame that stands still while a set is taken, to take out ego motion between the '
        'cameras; empty: static calibration only.',
    ),
    Parameter(
        'transform_timeout',
        0.5,
        'Seconds that a set waits for late transforms and CameraInfo.',
        (0.0, 60.0),
        live=True,
    ),
    Parameter(
        'sync.tolerance',
        0.06,
        'Seconds that images of a set may lie apart.',
        (0.0, 10.0),
        live=True,
    ),
    Parameter(
        'sync.timeout', 0.3, 'Seconds until a set goes out incomplete.', (0.001, 60.0), live=True
    ),
    Parameter('sync.min_cameras', 1, 'Fewest cameras that make a set.', (1, 1024), live=True),
    Parameter(
        'sync.learn_offsets',
        False,
        'Learn time_offset from the stamps where the cameras of a set lie more than half of '
        'sync.tolerance apart.',
        live=True,
    ),
    Parameter('vocabulary_file', '', 'YAML of the categories at start; empty: the Occ3D classes.'),
    Parameter(
        'grid.range',
        [*_GRID.lower, *_GRID.upper],
        'Corners of the grid in base_frame, metres: x y z of the lower, x y z of the upper.',
    ),
    Parameter('grid.resolution', _GRID.resolution, 'Edge of a voxel in metres.', (0.01, 10.0)),
    Parameter(
        'map.min_height',
        0.2,
        'Lowest obstacle in the 2D grid, metres.',
        (-1000.0, 1000.0),
        live=True,
    ),
    Parameter(
        'map.max_height',
        2.2,
        'Highest obstacle in the 2D grid, metres.',
        (-1000.0, 1000.0),
        live=True,
    ),
    Parameter(
        'map.occupied_threshold',
        0.0,
        "Density above which a voxel is occupied; 0: the value in the weights' card, found on "
        'validation streets.',
        (0.0, 1e6),
        live=True,
    ),
    Parameter(
        'map.rule',
        '',
        'How Gaussians become voxels: as the public checkpoints were scored, or calibrated; '
        "empty: the preset's.",
        choices=('', *RULES),
    ),
    Parameter(
        'map.class_temperature',
        0.0,
        "Of the classes in a voxel's confidence, with the calibrated rule; 0: the value in the "
        "weights' card.",
        (0.0, 1e3),
        live=True,
    ),
    Parameter(
        'memory.seconds',
        0.0,
        'Seconds for which is remembered what was seen and is not seen now; 0: nothing is.',
        (0.0, 3600.0),
        live=True,
    ),
    Parameter(
        'memory.half_life',
        _MEMORY.half_life,
        'Seconds after which what was seen counts half.',
        (0.01, 3600.0),
        live=True,
    ),
    Parameter(
        'memory.movable_seconds',
        _MEMORY.movable_seconds,
        'As memory.seconds, of categories that can drive or walk away.',
        (0.01, 3600.0),
        live=True,
    ),
    Parameter(
        'memory.max_speed',
        _MEMORY.max_speed,
        'Metres a second; where fixed_frame says that the ego was faster, it has jumped, and all '
        'is forgotten.',
        (0.01, 1000.0),
        live=True,
    ),
    Parameter(
        'memory.max_turn',
        _MEMORY.max_turn,
        'Radians a second, as memory.max_speed.',
        (0.01, 100.0),
        live=True,
    ),
    Parameter(
        'publish.max_gaussians',
        5000,
        'Most ellipsoids drawn in ~/gaussians.',
        (1, 10**6),
        live=True,
    ),
    Parameter(
        'publish.max_cubes', 60000, 'Most cubes drawn in ~/voxel_markers.', (1, 10**7), live=True
    ),
    Parameter(
        'publish.image_scale',
        0.5,
        'Size of the images ~/<camera>/*, as a share of the network size; drawing costs by pixel.',
        (0.05, 1.0),
        live=True,
    ),
    Parameter(
        'activation_category',
        '',
        'Name of the category whose probability ~/<camera>/activation shows; empty: not offered.',
        live=True,
    ),
    Parameter(
        'diagnostics_period', 0.25, 'Seconds between two /diagnostics.', (0.05, 60.0), live=True
    ),
    Parameter(
        'watchdog_timeout',
        30.0,
        'Seconds after which a stage that has not come to its end is reported as stuck; a '
        'transition waits as long for it, then it fails and the process ends.',
        (0.1, 86400.0),
        live=True,
    ),
    Parameter(
        'on_out_of_memory',
        'lower',
        "Where the device's memory is too small: lower what is asked of it, in stated steps, and "
        'stop after the last; or stop at once.',
        choices=('lower', 'stop'),
        live=True,
    ),
)

CAMERA_PARAMETERS = (
    Parameter(
        'image_topic',
        '',
        'Base topic of the images, to which /compressed is added where image_transport says so, '
        'unless its last name says compressed already (image_compressed); empty: '
        '/<camera>/image_raw.',
    ),
    Parameter('camera_info_topic', '', 'Empty: /<camera>/camera_info.'),
    Parameter(
        'depth_topic',
        '',
        'Empty: /<camera>/depth. CompressedImage where its last name says compressed, such as '
        'compressedDepth, else Image.',
    ),
    Parameter(
        'rectified',
        False,
        'The images are undistorted already (image_rect), so that P of their CameraInfo describes '
        'them, and not K and D.',
    ),
    Parameter(
        'time_offset',
        0.0,
        'Seconds by which the camera fires later than the first camera of a set; for grouping '
        'only, its poses stay at its own stamps.',
        (-10.0, 10.0),
        live=True,
    ),
)


def camera_parameters(camera: str) -> list[Parameter]:
    """The parameters `cameras.<camera>.*`."""
    return [
        replace(p, name=f'cameras.{camera}.{p.name}', description=f'{camera}: {p.description}')
        for p in CAMERA_PARAMETERS
    ]


def live_parameters(cameras: Iterable[str]) -> set[str]:
    """The names of those that may change while the node is configured."""
    own = (parameter for camera in cameras for parameter in camera_parameters(camera))
    return {parameter.name for parameter in (*PARAMETERS, *own) if parameter.live}


def checked(parameter: Parameter, value: Any) -> Any:
    """The value of one parameter, made of its type.

    Raises:
        ValueError: it is of another kind, or not among the choices or within the range.
    """
    kind = type(parameter.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is list:
        value = tuple(value) if not isinstance(value, str) else value
        inner = type(parameter.default[0])
        if inner is float and isinstance(value, tuple):
            value = tuple(float(v) if isinstance(v, int) else v for v in value)
        if not isinstance(value, tuple) or not all(isinstance(v, inner) for v in value):
            raise ValueError(f'{parameter.name} must be a list of {inner.__name__}, got {value!r}')
    elif not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise ValueError(f'{parameter.name} must be a {kind.__name__}, got {value!r}')
    if parameter.choices and value not in parameter.choices:
        choices = ', '.join(parameter.choices)
        raise ValueError(f'{parameter.name} must be one of {choices}, got {value!r}')
    if parameter.range and not parameter.range[0] <= value <= parameter.range[1]:
        low, high = parameter.range
        raise ValueError(f'{parameter.name} must be from {low} to {high}, got {value}')
    return value
