"""Filling a cache on a Ray cluster, or on a Ray of this machine: the only file that knows Ray.

Every worker is an actor that loads its teacher once. Ray starts an actor whose process or machine
died again, elsewhere if need be, and gives it its frames once more.
"""

from __future__ import annotations

import math
import os
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from gausstr_training.targets.filling import FAILED, Filler, FillSpec, Outcome

LOCAL = 'local'
RETRIES = 2  # of a frame whose worker died
PATIENCE = 20.0  # seconds for a cluster to answer
STORE = 512 * 2**20  # bytes of shared memory of a local Ray: only the list of frames travels


def fill(
    spec: FillSpec,
    indices: Sequence[int],
    workers: int | None = None,
    address: str = LOCAL,
    gpus: float = 0.0,
) -> Iterator[Outcome]:
    """The outcomes of frames, as they come.

    Args:
        spec: what to do; every machine must see its folders, and have this package installed.
        indices: of the frames.
        workers: how many at most; None: as many as the cluster holds.
        address: of the cluster: 'auto', 'host:port' or 'ray://host:port'; 'local' starts a Ray
            that lives as long as this call.
        gpus: of each worker; a fraction shares one.

    Raises:
        ValueError: Ray is not installed, there is no cluster at the address, or it has no room
            for a worker; and as `Filler.fill`.
        OSError: as `Filler.fill`.
    """
    ray = _ray()
    _connect(ray, address, spec.threads, workers)
    try:
        count = _room(ray, spec.threads, gpus)
        if not count:
            raise ValueError(
                f'the cluster has no room: a worker takes {spec.threads} CPUs and {gpus:g} GPUs, '
                f'there are {ray.cluster_resources()}'
            )
        count = min(count, workers or count, max(len(indices), 1))
        kind = ray.remote(_Worker).options(
            num_cpus=spec.threads, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES
        )
        yield from _outcomes(ray, spec, deque(indices), [kind.remote() for _ in range(count)])
    finally:
        ray.shutdown()


class _Worker:
    """A `Filler` that finds its work again after it was started again."""

    def __init__(self) -> None:
        self._filler: Filler | None = None

    def fill(self, spec: list[Any], index: int) -> Outcome:
        """See `Filler.fill`; the spec lies in Ray's store, and is fetched once."""
        if self._filler is None:
            self._filler = Filler(_ray().get(spec[0]))
        return self._filler.fill(index)


def _ray() -> Any:
    # Ray reports to its makers unless told otherwise
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    try:
        import ray
    except ImportError:
        raise ValueError("Ray is not installed: pip install 'gausstr_ros[cluster]'") from None
    return ray


def _connect(ray: Any, address: str, threads: int, workers: int | None) -> None:
    options: dict[str, Any] = {'address': address}
    if address == LOCAL:
        cpus = workers * threads if workers else None
        options |= {'num_cpus': cpus, 'include_dashboard': False, 'object_store_memory': STORE}
    try:
        if address not in (LOCAL, 'auto'):
            # Ray itself would go on trying for minutes
            host, _, port = address.removeprefix('ray://').rpartition(':')
            socket.create_connection((host.strip('[]'), int(port)), PATIENCE).close()
        ray.init(**options, log_to_driver=False, logging_level='WARNING')
    except (OSError, RuntimeError, ValueError) as error:
        if 'AF_UNIX' in str(error):  # Ray's words name a socket that nobody has chosen
            place = os.environ.get('RAY_TMPDIR') or tempfile.gettempdir()
            raise ValueError(
                f'Ray keeps its sockets below {place}, a path of {len(place)} characters that is '
                'too long for them: set RAY_TMPDIR to a short one, such as /tmp'
            ) from None
        raise ValueError(f'there is no Ray cluster at {address!r}: {error}') from None


def _room(ray: Any, cpus: int, gpus: float) -> int:
    """How many workers the machines of the cluster hold; none is spread over two."""
    room = 0
    for node in ray.nodes():
        has = node['Resources'] if node['Alive'] else {}
        fits = [has.get('CPU', 0) / cpus]
        if gpus:
            # a whole one cannot be put together from the remains of several
            whole = has.get('GPU', 0)
            fits.append(whole * round(1 / gpus) if gpus < 1 else whole / gpus)
        room += math.floor(min(fits))
    return room


def _outcomes(
    ray: Any, spec: FillSpec, waiting: deque[int], workers: list[Any]
) -> Iterator[Outcome]:
    shared, left = [ray.put(spec)], len(waiting)  # in a list, or every call would unpack it
    # Only a worker that has answered gets a frame, so one that finds no place holds up nothing;
    # and one at a time, so that a frame that kills its worker is alone to blame.
    asked = {worker.__ray_ready__.remote(): (worker, -1) for worker in workers}
    while left:
        (done,), _ = ray.wait(list(asked))
        worker, index = asked.pop(done)
        if waiting:
            following = waiting.popleft()
            asked[worker.fill.remote(shared, following)] = (worker, following)
        else:
            ray.kill(worker)  # makes room for one that has to be started again
        if index < 0:
            _check_started(ray, done)
            continue
        left -= 1
        yield _outcome(ray, spec, done, index)


def _check_started(ray: Any, ready: Any) -> None:
    try:
        ray.get(ready)
    except ray.exceptions.RayActorError as error:
        raise ValueError(f'a worker does not start: {error}') from None


def _outcome(ray: Any, spec: FillSpec, done: Any, index: int) -> Outcome:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (ValueError, OSError)):
            raise error.cause from None  # without the traceback of the worker
        raise
    except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
        note = f'its worker died {RETRIES + 1} times: {error}'
        return Outcome(index, spec.frames.keys[index], FAILED, note, None, ('', 0))
