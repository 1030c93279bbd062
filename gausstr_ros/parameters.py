"""The parameters of the node: one table, one frozen record, one place that checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gausstr_core.contracts import VoxelGrid
from gausstr_core.foundation.released import DEPTH_NETWORKS
from gausstr_core.presets import PRESETS, RULES
from gausstr_ros.conversions import band_slice
from gausstr_ros.synchroniser import Synchroniser

NUSCENES_CAMERAS = (
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_FRONT_LEFT',
    'CAM_BACK',
    'CAM_BACK_LEFT',
    'CAM_BACK_RIGHT',
)
_GRID = VoxelGrid()


@dataclass(frozen=True)
class Parameter:
    """Name, default, meaning and range of one parameter; the type is that of the default."""

    name: str
    default: Any
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


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
        'Where the published files of talk2dino and featup lie; empty: fetched into the cache.',
    ),
    Parameter(
        'depth_network',
        '',
        'Depth network of talk2dino and featup; empty: metric3d, or none where depth comes from '
        'topics.',
        choices=('', *DEPTH_NETWORKS),
    ),
    Parameter('device', 'cpu', 'Torch device, such as cpu or cuda:0; never replaced by another.'),
    Parameter('threads', 0, 'Threads for the network on the CPU; 0: what torch takes.', (0, 1024)),
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
        'model: the network; topic: depth images with the stamps of the images.',
        choices=('model', 'topic'),
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
    ),
    Parameter('sync.tolerance', 0.06, 'Seconds that images of a set may lie apart.', (0.0, 10.0)),
    Parameter('sync.timeout', 0.3, 'Seconds until a set goes out incomplete.', (0.001, 60.0)),
    Parameter('sync.min_cameras', 1, 'Fewest cameras that make a set.', (1, 1024)),
    Parameter(
        'sync.learn_offsets',
        False,
        'Learn time_offset from the stamps where the cameras of a set lie more than half of '
        'sync.tolerance apart.',
    ),
    Parameter('vocabulary_file', '', 'YAML of the categories at start; empty: the Occ3D classes.'),
    Parameter(
        'grid.range',
        [*_GRID.lower, *_GRID.upper],
        'Corners of the grid in base_frame, metres: x y z of the lower, x y z of the upper.',
    ),
    Parameter('grid.resolution', _GRID.resolution, 'Edge of a voxel in metres.', (0.01, 10.0)),
    Parameter('map.min_height', 0.2, 'Lowest obstacle in the 2D grid, metres.', (-1000.0, 1000.0)),
    Parameter(
        'map.max_height', 2.2, 'Highest obstacle in the 2D grid, metres.', (-1000.0, 1000.0)
    ),
    Parameter(
        'map.occupied_threshold',
        0.0,
        "Density above which a voxel is occupied; 0: the value in the weights' card, found on "
        'validation streets.',
        (0.0, 1e6),
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
    ),
    Parameter('publish.max_gaussians', 5000, 'Most ellipsoids drawn in ~/gaussians.', (1, 10**6)),
    Parameter('publish.max_cubes', 60000, 'Most cubes drawn in ~/voxel_markers.', (1, 10**7)),
    Parameter(
        'publish.image_scale',
        0.5,
        'Size of the images ~/<camera>/*, as a share of the network size; drawing costs by pixel.',
        (0.05, 1.0),
    ),
    Parameter(
        'activation_category',
        '',
        'Name of the category whose probability ~/<camera>/activation shows; empty: not offered.',
    ),
    Parameter('diagnostics_period', 1.0, 'Seconds between two /diagnostics.', (0.05, 60.0)),
)

CAMERA_PARAMETERS = (
    Parameter(
        'image_topic',
        '',
        'Base topic of the images, to which /compressed is added where image_transport says so; '
        'empty: /<camera>/image_raw.',
    ),
    Parameter('camera_info_topic', '', 'Empty: /<camera>/camera_info.'),
    Parameter(
        'depth_topic',
        '',
        'Empty: /<camera>/depth. CompressedImage where it ends in /compressedDepth or '
        '/compressed, else Image.',
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
    ),
)


@dataclass(frozen=True)
class CameraSettings:
    """Where one camera is heard."""

    name: str
    image_topic: str
    camera_info_topic: str
    depth_topic: str
    time_offset: float
    rectified: bool = False

    @property
    def compressed_depth(self) -> bool:
        """Whether depth comes as CompressedImage."""
        return self.depth_topic.endswith(('/compressedDepth', '/compressed'))


@dataclass(frozen=True)
class Settings:
    """Checked parameters."""

    preset: str
    weights: str
    weights_folder: str
    depth_network: str
    device: str
    threads: int
    cameras: tuple[CameraSettings, ...]
    compressed: bool
    reliable: bool
    measured_depth: bool
    base_frame: str
    fixed_frame: str
    transform_timeout: float
    tolerance: float
    timeout: float
    min_cameras: int
    learn_offsets: bool
    vocabulary_file: str
    grid: VoxelGrid
    band: tuple[float, float]
    occupied_threshold: float
    rule: str
    class_temperature: float
    max_gaussians: int
    max_cubes: int
    image_scale: float
    activation_category: str
    diagnostics_period: float

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names."""
        return tuple(camera.name for camera in self.cameras)

    def synchroniser(self) -> Synchroniser[Any]:
        """A new synchroniser with these settings."""
        offsets = {camera.name: camera.time_offset for camera in self.cameras}
        return Synchroniser(
            self.names,
            self.tolerance,
            self.timeout,
            self.min_cameras,
            offsets,
            learn_offsets=self.learn_offsets,
        )


def camera_parameters(camera: str) -> list[Parameter]:
    """The parameters `cameras.<camera>.*`."""
    return [
        Parameter(f'cameras.{camera}.{p.name}', p.default, f'{camera}: {p.description}', p.range)
        for p in CAMERA_PARAMETERS
    ]


def read_settings(values: Mapping[str, Any]) -> Settings:
    """Check the values of all parameters, by name; absent ones take their default.

    Raises:
        ValueError: a value is of the wrong kind or range, two contradict each other, or there is
            no such parameter; the message names the parameters.
    """
    chosen = {p.name: _checked(p, values.get(p.name, p.default)) for p in PARAMETERS}
    names = chosen['cameras']
    if not names or '' in names or len(set(names)) != len(names):
        raise ValueError(f'cameras must be at least one name, each once, got {list(names)}')
    known = [parameter for name in names for parameter in camera_parameters(name)]
    chosen |= {p.name: _checked(p, values.get(p.name, p.default)) for p in known}
    unknown = sorted(set(values) - set(chosen) - {'use_sim_time', 'autostart'})
    if unknown:
        raise ValueError(f'no parameter {", ".join(unknown)}; cameras are {", ".join(names)}')
    settings = _assemble(chosen)
    _check_together(settings)
    return settings


def read_parameter_file(path: Path, node: str = 'gausstr') -> dict[str, Any]:
    """The parameters that a ROS 2 parameter file gives to a node, by name.

    Raises:
        ValueError: the file cannot be read or is not of that form.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f'parameter file {path}: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'parameter file {path}: expected node names with ros__parameters')
    values: dict[str, Any] = {}
    for pattern in ('/**', '**', node, f'/{node}'):
        section = content.get(pattern) or {}
        if not isinstance(section, dict) or not isinstance(
            section.get('ros__parameters', {}), dict
        ):
            raise ValueError(f'parameter file {path}: {pattern} has no ros__parameters')
        values |= _flat(section.get('ros__parameters', {}))
    return values


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def _assemble(chosen: Mapping[str, Any]) -> Settings:
    compressed = chosen['image_transport'] == 'compressed'
    corners = chosen['grid.range']
    if len(corners) != 6:
        raise ValueError(f'grid.range must be 6 numbers (x y z, x y z), got {list(corners)}')
    try:
        grid = VoxelGrid(tuple(corners[:3]), tuple(corners[3:]), chosen['grid.resolution'])
    except ValueError as error:
        raise ValueError(f'grid.range and grid.resolution: {error}') from error
    return Settings(
        preset=chosen['preset'],
        weights=chosen['weights'],
        weights_folder=chosen['weights_folder'],
        depth_network=chosen['depth_network'],
        device=chosen['device'],
        threads=chosen['threads'],
        cameras=tuple(_camera(name, chosen, compressed) for name in chosen['cameras']),
        compressed=compressed,
        reliable=chosen['image_reliability'] == 'reliable',
        measured_depth=chosen['depth_source'] == 'topic',
        base_frame=chosen['base_frame'],
        fixed_frame=chosen['fixed_frame'],
        transform_timeout=chosen['transform_timeout'],
        tolerance=chosen['sync.tolerance'],
        timeout=chosen['sync.timeout'],
        min_cameras=chosen['sync.min_cameras'],
        learn_offsets=chosen['sync.learn_offsets'],
        vocabulary_file=chosen['vocabulary_file'],
        grid=grid,
        band=(chosen['map.min_height'], chosen['map.max_height']),
        occupied_threshold=chosen['map.occupied_threshold'],
        rule=chosen['map.rule'],
        class_temperature=chosen['map.class_temperature'],
        max_gaussians=chosen['publish.max_gaussians'],
        max_cubes=chosen['publish.max_cubes'],
        image_scale=chosen['publish.image_scale'],
        activation_category=chosen['activation_category'],
        diagnostics_period=chosen['diagnostics_period'],
    )


def _camera(name: str, chosen: Mapping[str, Any], compressed: bool) -> CameraSettings:
    def topic(key: str, default: str) -> str:
        return chosen[f'cameras.{name}.{key}'] or f'/{name}/{default}'

    image = topic('image_topic', 'image_raw')
    if compressed and not image.endswith('/compressed'):
        image += '/compressed'
    info, depth = topic('camera_info_topic', 'camera_info'), topic('depth_topic', 'depth')
    return CameraSettings(
        name,
        image,
        info,
        depth,
        time_offset=chosen[f'cameras.{name}.time_offset'],
        rectified=chosen[f'cameras.{name}.rectified'],
    )


def _check_together(settings: Settings) -> None:
    """Raise ValueError where parameters contradict each other."""
    settings.synchroniser()
    low, high = settings.band
    if not low < high:
        raise ValueError(f'map.min_height must be below map.max_height, got {low} and {high} m')
    band_slice(settings.grid, settings.band)
    if settings.measured_depth and settings.depth_network:
        raise ValueError(
            f'depth_network is {settings.depth_network!r}, but depth_source is topic: leave one'
        )
    if not settings.base_frame:
        raise ValueError('base_frame must not be empty')
    if settings.base_frame == settings.fixed_frame:
        raise ValueError(
            f'base_frame and fixed_frame are both {settings.base_frame!r}: the ego frame moves; '
            'leave fixed_frame empty for static calibration only'
        )
    topics: dict[str, str] = {}
    for camera in settings.cameras:
        if camera.image_topic in topics:
            raise ValueError(
                f'cameras.{topics[camera.image_topic]}.image_topic and '
                f'cameras.{camera.name}.image_topic are both {camera.image_topic}'
            )
        topics[camera.image_topic] = camera.name


def _checked(parameter: Parameter, value: Any) -> Any:
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
