"""How much of what comes is mapped, and how much of the work is done as it comes."""

from __future__ import annotations

from collections import deque

_SETS = 100  # over which shares are taken


class Throughput:
    """Shares of the last sets; not locked."""

    def __init__(self) -> None:
        self._skipped: deque[bool] = deque(maxlen=_SETS)
        self._seen: deque[tuple[int, int]] = deque(maxlen=_SETS)

    def mapped(self) -> None:
        """A set was mapped."""
        self._skipped.append(False)

    def skipped(self) -> None:
        """A set was given up for a newer one, as the machine was too slow."""
        self._skipped.append(True)

    def encoded(self, early: int, images: int) -> None:
        """A set of some images was encoded, some of them before the set was complete."""
        self._seen.append((early, images))

    def values(self) -> dict[str, str]:
        """The shares in percent, of the last sets."""
        shown = {}
        if self._skipped:
            share = sum(self._skipped) / len(self._skipped)
            shown[f'sets skipped, of the last {_SETS} [%]'] = f'{100 * share:.0f}'
        if images := sum(images for _, images in self._seen):
            share = sum(early for early, _ in self._seen) / images
            shown['images encoded on arrival [%]'] = f'{100 * share:.0f}'
        return shown
