"""Every pain of the field that shared/field_notes.md lists is named by a test that prevents it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_NUMBERS = re.compile(r'([A-Za-z][\w.]*)(?: PR)? (\d+(?:, \d+)*)')


def threads(text: str) -> set[tuple[str, str]]:
    """(project, number) of each thread that a text names: project, then numbers with commas."""
    return {
        (project.lower(), number)
        for project, numbers in _NUMBERS.findall(text)
        for number in numbers.split(', ')
    }


def docstrings() -> str:
    """Of all tests and their files."""
    found = []
    for path in (REPOSITORY / 'test').rglob('test_*.py'):
        tree = ast.parse(path.read_text())
        documented = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        found += [ast.get_docstring(n) for n in (tree, *documented)]
    return '\n'.join(filter(None, found))


def test_each_pain_is_named_by_a_test(shared: Path) -> None:
    lines = (shared / 'field_notes.md').read_text().splitlines()
    rows = [line.split('|') for line in lines if line.startswith('|') and '---' not in line][1:]
    assert len(rows) >= 18
    named = threads(docstrings())
    missing = {pain.strip(): gone for _, pain, t, *_ in rows if (gone := threads(t) - named)}
    assert not missing
