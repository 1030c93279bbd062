"""Frames whose reader has to be killed; a module, because worker processes must import it."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds that a doomed process waits, in case nobody comes for it


@dataclass(frozen=True)
class LethalFrames:
    """Frames of another source; to read one of them is to leave one's process number and wait.

    `deaths` readers wait in vain, the next one gets the frame.
    """

    frames: Any
    folder: Path
    lethal: int
    deaths: int = 1

    @property
    def keys(self) -> list[str]:
        return self.frames.keys

    def __getitem__(self, index: int) -> Any:
        if index == self.lethal and len(self.victims()) < self.deaths:
            (self.folder / str(os.getpid())).touch()
            time.sleep(PATIENCE)
        return self.frames[index]

    def victims(self) -> set[int]:
        return {int(path.name) for path in self.folder.iterdir()}


class Killer(threading.Thread):
    """Kills whoever waits in a frame, while it is a context."""

    def __init__(self, frames: LethalFrames) -> None:
        super().__init__(daemon=True)
        self.frames, self.killed, self._over = frames, set[int](), threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            for process in self.frames.victims() - self.killed:
                os.kill(process, signal.SIGKILL)
                self.killed.add(process)

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()
