"""What the node runs with: checked parameters in one frozen record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_topic_name import validate_topic_name

from gausstr_core.contracts import VoxelGrid
from gausstr_core.remembering import MemorySettings
from gausstr_core.surface_preset import NetworkOptions
from gausstr_core.transformer.reference_points import QueryGrid
from gausstr_ros.messages.grids_and_clouds import band_slice
from gausstr_ros.sets.limits import Grouping
from gausstr_ros.settings.parameters import PARAMETERS, camera_parameters, checked

_COMPRESSED = re.compile(r'(?<![A-Za-z])[cC]ompressed|(?<=[a-z])Compressed')


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
        return says_compressed(self.depth_topic)


@dataclass(frozen=True)
class Settings:
    """Checked parameters."""

    preset: str
    weights: str
    weights_folder: str
    networks: NetworkOptions
    lattice: QueryGrid
    depth_network: str
    word_temperature: float
    device: str
    threads: int
    cameras: tuple[CameraSettings, ...]
    compressed: bool
    reliable: bool
    depth_source: str
    lidar_topics: tuple[str, ...]  # none unless they are the source of depth
    lidar_max_age: float
    lidar_sweeps: int
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
    memory: MemorySettings | None  # None: nothing is remembered
    max_gaussians: int
    max_cubes: int
    image_scale: float
    activation_category: str
    diagnostics_period: float
    watchdog_timeout: float
    lower_on_out_of_memory: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names."""
        return tuple(camera.name for camera in self.cameras)

    @property
    def measured_depth(self) -> bool:
        """Whether depth is measured, by whatever."""
        return self.depth_source != 'model'

    @property
    def depth_images(self) -> bool:
        """Whether depth comes as images."""
        return self.depth_source == 'topic'

    @property
    def grouping(self) -> Grouping:
        """By what images become sets.

        Raises:
            ValueError: parameters contradict each other.
        """
        offsets = {camera.name: camera.time_offset for camera in self.cameras}
        return Grouping(
            self.names,
            self.tolerance,
            self.timeout,
            self.min_cameras,
            offsets,
            self.learn_offsets,
        )


def read_settings(values: Mapping[str, Any]) -> Settings:
    """Check the values of all parameters, by name; absent ones take their default.

    Raises:
        ValueError: a value is of the wrong kind or range, two contradict each other, or there is
            no such parameter; the message names the parameters.
    """
    chosen = {p.name: checked(p, values.get(p.name, p.default)) for p in PARAMETERS}
    names = chosen['cameras']
    if not names or '' in names or len(set(names)) != len(names):
        raise ValueError(f'cameras must be at least one name, each once, got {list(names)}')
    known = [parameter for name in names for parameter in camera_parameters(name)]
    chosen |= {p.name: checked(p, values.get(p.name, p.default)) for p in known}
    unknown = sorted(set(values) - set(chosen) - {'use_sim_time', 'autostart'})
    if unknown:
        raise ValueError(f'no parameter {", ".join(unknown)}; cameras are {", ".join(names)}')
    settings = _assemble(chosen)
    _check_names(settings)
    _check_together(settings)
    return settings


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
        networks=NetworkOptions(
            chosen['features'] or None,
            _size('input_size', chosen),
            _size('depth_size', chosen),
            chosen['engine'],
        ),
        lattice=_lattice(chosen['surface.lattice']),
        depth_network=chosen['depth_network'],
        word_temperature=chosen['word_temperature'],
        device=chosen['device'],
        threads=chosen['threads'],
        cameras=tuple(_camera(name, chosen, compressed) for name in chosen['cameras']),
        compressed=compressed,
        reliable=chosen['image_reliability'] == 'reliable',
        depth_source=chosen['depth_source'],
        lidar_topics=_lidar_topics(chosen),
        lidar_max_age=chosen['lidar.max_age'],
        lidar_sweeps=chosen['lidar.sweeps'],
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
        memory=_memory(chosen),
        max_gaussians=chosen['publish.max_gaussians'],
        max_cubes=chosen['publish.max_cubes'],
        image_scale=chosen['publish.image_scale'],
        activation_category=chosen['activation_category'],
        diagnostics_period=chosen['diagnostics_period'],
        watchdog_timeout=chosen['watchdog_timeout'],
        lower_on_out_of_memory=chosen['on_out_of_memory'] == 'lower',
    )


def _size(name: str, chosen: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width, None where both are 0."""
    size = chosen[name]
    if len(size) != 2 or min(size) < 0 or (0 in size and any(size)):
        raise ValueError(
            f'{name} must be height and width in pixels, or [0, 0] for the own size of the '
            f'network, got {list(size)}'
        )
    return (size[0], size[1]) if any(size) else None


def _camera(name: str, chosen: Mapping[str, Any], compressed: bool) -> CameraSettings:
    def topic(key: str, default: str) -> str:
        return chosen[f'cameras.{name}.{key}'] or f'/{name}/{default}'

    image = topic('image_topic', 'image_raw')
    if compressed and not says_compressed(image):
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


def _lattice(numbers: Sequence[int]) -> QueryGrid:
    if len(numbers) != 3:
        raise ValueError(f'surface.lattice must be 3 numbers, got {list(numbers)}')
    try:
        return QueryGrid(*numbers)
    except ValueError as error:
        raise ValueError(f'surface.lattice: {error}') from error


def _lidar_topics(chosen: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of `lidar.topic`, where depth comes from them.

    Raises:
        ValueError: there is none, or one comes twice.
    """
    topics = tuple(chosen['lidar.topic'].replace(',', ' ').split())
    if chosen['depth_source'] != 'lidar':
        return ()
    if not topics or len(set(topics)) != len(topics):
        raise ValueError(
            'lidar.topic must be at least one topic, each once, separated by spaces; got '
            f'{chosen["lidar.topic"]!r}'
        )
    return topics


def _memory(chosen: Mapping[str, Any]) -> MemorySettings | None:
    if not chosen['memory.seconds']:
        return None
    names = [field.name for field in fields(MemorySettings)]
    return MemorySettings(**{name: chosen[f'memory.{name}'] for name in names})


def says_compressed(topic: str) -> bool:
    """Whether a topic's last name says that CompressedImage comes on it.

    So do `.../image_raw/compressed`, `.../compressedDepth`, and `.../image_compressed` of drivers
    that publish no raw image beside it; `.../image_uncompressed` does not.
    """
    return _COMPRESSED.search(topic.rpartition('/')[2]) is not None


def _check_names(settings: Settings) -> None:
    """Raise ValueError where a topic or a frame has a name that none can have."""
    for camera in settings.cameras:
        own = f'cameras.{camera.name}'
        # '/': with a name that is no topic, nor are the outputs ~/<camera>/...
        _check_topic(f'cameras: {camera.name!r}', f'/{camera.name}')
        _check_topic(f'{own}.image_topic', camera.image_topic)
        _check_topic(f'{own}.camera_info_topic', camera.camera_info_topic)
        _check_topic(f'{own}.depth_topic', camera.depth_topic)
    for topic in settings.lidar_topics:
        _check_topic('lidar.topic', topic)
    for parameter, frame in (
        ('base_frame', settings.base_frame),
        ('fixed_frame', settings.fixed_frame),
    ):
        if frame.startswith('/'):
            raise ValueError(f'{parameter} is {frame!r}: frames of tf2 begin with no slash')


def _check_topic(parameter: str, topic: str) -> None:
    try:
        validate_topic_name(topic)
    except InvalidTopicNameException as error:
        reason = str(error).partition('\n')[0]
        raise ValueError(f'{parameter}: {topic!r} is no topic, {reason}') from error


def _check_together(settings: Settings) -> None:
    """Raise ValueError where parameters contradict each other."""
    _ = settings.grouping  # checks itself
    low, high = settings.band
    if not low < high:
        raise ValueError(f'map.min_height must be below map.max_height, got {low} and {high} m')
    band_slice(settings.grid, settings.band)
    if settings.measured_depth and settings.depth_network:
        raise ValueError(
            f'depth_network is {settings.depth_network!r}, but depth_source is '
            f'{settings.depth_source}: leave one'
        )
    if not settings.base_frame:
        raise ValueError('base_frame must not be empty')
    if settings.base_frame == settings.fixed_frame:
        raise ValueError(
            f'base_frame and fixed_frame are both {settings.base_frame!r}: the ego frame moves; '
            'leave fixed_frame empty for static calibration only'
        )
    if settings.memory is not None and not settings.fixed_frame:
        raise ValueError(
            f'memory.seconds is {settings.memory.seconds:g}, but fixed_frame is empty: what is '
            'remembered needs a frame that does not move with the ego, such as odom; set '
            'memory.seconds to 0 without one'
        )
    topics: dict[str, str] = {}
    for camera in settings.cameras:
        if camera.image_topic in topics:
            raise ValueError(
                f'cameras.{topics[camera.image_topic]}.image_topic and '
                f'cameras.{camera.name}.image_topic are both {camera.image_topic}'
            )
        topics[camera.image_topic] = camera.name
