"""The walks of docs/architecture.md, and what really runs, in its order."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / 'docs' / 'architecture.md'
# 3. [`folder/file.py`](../folder/file.py) `Class.function`: what it does
_STEP = re.compile(r'^\d+\. \[`([\w/]+\.py)`\]\(\.\./([\w/]+\.py)\) `([\w.]+)`', re.MULTILINE)

Step = tuple[str, str]  # path of a file in the repository, name of a function


class Walk:
    """The steps under a heading of the page, and the calls of their functions as they come."""

    def __init__(self, title: str) -> None:
        _, found, rest = PAGE.read_text().partition(f'\n## {title}\n')
        assert found, f'{PAGE} has no heading {title!r}'
        text = rest.partition('\n## ')[0]
        steps = _STEP.findall(text)
        assert len(steps) == len(re.findall(r'^\d+\. ', text, re.MULTILINE)) > 5
        assert all(shown == linked for shown, linked, _ in steps)
        for path, _, name in steps:
            kind = name.rpartition('.')[0]
            assert not kind or f'\nclass {kind}' in (REPOSITORY / path).read_text(), name
        self.steps: list[Step] = [(path, name.rpartition('.')[2]) for path, _, name in steps]
        self._by_code = {(str(REPOSITORY / path), name): (path, name) for path, name in self.steps}
        self._calls: list[Step] = []

    def files(self, package: str) -> set[str]:
        """Those of a package that the walk leads through."""
        return {path for path, _ in self.steps if path.startswith(f'{package}/')}

    @contextmanager
    def noted(self) -> Iterator[Walk]:
        """Note the calls of this thread, and of all threads that start meanwhile."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def begin(self) -> None:
        """Forget the calls so far."""
        self._calls.clear()

    def check(self) -> None:
        """Fail unless the functions were called, one after the other as the page has them."""
        calls = iter(list(self._calls))
        for number, step in enumerate(self.steps, 1):
            assert step in calls, f'step {number}, {step}, was not called after those before it'

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == 'call':
            code = frame.f_code
            step = self._by_code.get((code.co_filename, code.co_name))
            if step is not None:
                self._calls.append(step)
