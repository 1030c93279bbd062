"""tf2's buffer for a clock that may jump."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import tf2_ros
from geometry_msgs.msg import TransformStamped

from gausstr_core.stamps import SECOND, nanoseconds

# Transforms may be stamped ahead of the images by so much and be right: localisation posts its
# results for a second in advance, and images take their time. In nanoseconds.
AHEAD = 2 * SECOND
REMEMBERED = 10.0  # seconds, as tf2 itself
MOST = 4096  # transforms that are remembered
AFRESH = 'transforms started afresh'  # why a memory starts afresh as well


class TransformBuffer(tf2_ros.Buffer):
    """A buffer that outlives jumps of the clock: what is static stays, and so does what is true.

    tf2 leaves out what is more than ten seconds older than its newest, so that after a jump back
    nothing new would be taken. When the images tell of the jump, transforms of the new time have
    come already, and nobody sends them again; nor does the player of a bag send all static ones
    to those who subscribe late. So neither buffer nor subscriptions are made anew.

    To be filled and started afresh by one thread; others may look up.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()  # one that knows the node offers a service, and is never let go
        self._seconds = clock
        # when it came, transform, authority; in the order in which they came
        self._moving: deque[tuple[float, TransformStamped, str]] = deque(maxlen=MOST)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add what holds at its stamp."""
        now = self._seconds()
        self._moving.append((now, transform, authority))
        while now - self._moving[0][0] > REMEMBERED:
            self._moving.popleft()
        super().set_transform(transform, authority)

    def clear(self) -> None:
        """Forget all that moves; static transforms stay."""
        self._moving.clear()
        super().clear()

    def start_afresh(self, now: int) -> None:
        """Forget what is of another time than the images.

        Args:
            now: stamp of the images, in nanoseconds; of each frame, what came since its last
                transform from beyond that is of the same time and stays.
        """
        kept: list[tuple[TransformStamped, str]] = []
        ended: set[str] = set()
        for _, transform, authority in reversed(self._moving):
            if nanoseconds(transform.header.stamp) > now + AHEAD:
                ended.add(transform.child_frame_id)
            elif transform.child_frame_id not in ended:
                kept.append((transform, authority))
        self.clear()
        for transform, authority in reversed(kept):
            self.set_transform(transform, authority)
