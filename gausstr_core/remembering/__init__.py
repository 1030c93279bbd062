"""A memory over time: what cameras saw a moment ago, kept beside what they see now."""

from __future__ import annotations

from gausstr_core.remembering.evidence import Evidence
from gausstr_core.remembering.memory import Memory, Remembered
from gausstr_core.remembering.settings import MemorySettings

__all__ = ['Evidence', 'Memory', 'MemorySettings', 'Remembered']
