"""Data that several files of tests score; not to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streets of one frame with truth, street_000500 and street_000501."""
    from evaluations import write_streets

    return write_streets(tmp_path_factory.mktemp('streets'))
