"""The code blocks of docs/, as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language on a page of docs/, in order."""
    text = (ROOT / 'docs' / page).read_text()
    return re.findall(rf'^```{language}\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a block from a file, in a folder, as a reader would; what it says comes back."""
    path = folder / 'snippet.py'
    path.write_text(script)
    return subprocess.run(
        [sys.executable, path.name],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
