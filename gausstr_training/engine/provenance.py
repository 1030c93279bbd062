"""What made a file: the commit of this package and the versions of what it stands on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import torch


def commit() -> str:
    """The commit of the checkout, with + where it has changes; 'installed' outside of one."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ['git', 'describe', '--always', '--dirty=+'],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return 'installed'
    return head.stdout.strip()


def versions() -> dict[str, str]:
    """Of this package (its commit), Python, torch and NumPy."""
    return {
        'gausstr': commit(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'numpy': np.__version__,
    }
