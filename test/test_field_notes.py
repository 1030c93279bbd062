"""Every pain of the field that shared/ lists is named by the docstring of a test.

Of field_notes.md all threads; of field_reports.md the threads of each row, or the row's number
(`field_reports R4`, `row R4`, `R4`) where it has none.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
_NUMBER = r'(?:PR\s*)?#?\d+'
# project, then numbers: "rclpy 1209", "usb_cam PR 336, 389", "geometry2 150, PR 191"
_THREADS = re.compile(rf'(?!PR\b)\b([A-Za-z][\w.]*)\s+({_NUMBER}(?:,\s+{_NUMBER})*)')
_ROW = re.compile(r'\b[RBDXN]\d{1,2}\b')


def threads(text: str) -> set[tuple[str, str]]:
    """(project, number) of each thread that a text names; of project names the last word."""
    return {
        (project.lower(), number)
        for project, numbers in _THREADS.findall(text)
        for number in re.findall(r'\d+', numbers)
    }


def rows(page: Path) -> list[list[str]]:
    """The cells of each row of the tables of a page, without headings."""
    lines = [line for line in page.read_text().splitlines() if line.startswith('|')]
    headings = {index - 1 for index, line in enumerate(lines) if '---' in line}
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for index, line in enumerate(lines)
        if index not in headings and '---' not in line
    ]


@pytest.fixture(scope='module')
def docstrings() -> str:
    """Of all tests and their files."""
    found = []
    for path in (REPOSITORY / 'test').rglob('test_*.py'):
        tree = ast.parse(path.read_text())
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
        found += [ast.get_docstring(node) for node in (tree, *documented)]
    return '\n'.join(filter(None, found))


def test_each_pain_is_named_by_a_test(shared: Path, docstrings: str) -> None:
    found = rows(shared / 'field_notes.md')
    assert len(found) >= 18
    named = threads(docstrings)
    missing = {pain: gone for pain, text, *_ in found if (gone := threads(text) - named)}
    assert not missing


def test_each_report_is_named_by_a_test(shared: Path, docstrings: str) -> None:
    found = rows(shared / 'field_reports.md')
    assert len(found) >= 70
    named, numbers = threads(docstrings), set(_ROW.findall(docstrings))
    missing = []
    for number, text, *rest in found:
        if any('not part of this list' in cell for cell in rest):
            continue
        wanted = threads(text) if number[0] in 'RBD' else set()
        gone = [' '.join(thread) for thread in sorted(wanted - named)]
        if gone or (not wanted and number not in numbers):
            missing.append(f'{number}: {", ".join(gone) or "its number"}')
    assert not missing, 'no docstring of a test names\n' + '\n'.join(missing)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (
            'rclpy 1209, rclpy PR 1319; navigation2 4693, 3080',
            'rclpy 1209 1319 navigation2 4693 3080',
        ),
        ('geometry2 150, PR 191', 'geometry2 150 191'),
        ('usb_cam PR 336,\n    389.', 'usb_cam 336 389'),
        ('LIO-SAM 558 and t4-devkit PR #207', 'sam 558 devkit 207'),
        ('field_reports R4; none', ''),
    ],
)
def test_threads_are_found_in_whatever_form(text: str, expected: str) -> None:
    flat: set[tuple[str, str]] = set()
    project = ''
    for word in expected.split():
        project = project if word.isdigit() else word
        flat |= {(project, word)} if word.isdigit() else set()
    assert threads(text) == flat
