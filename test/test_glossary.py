"""Whoever meets a word of the README or of a report finds it in docs/glossary.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / 'docs' / 'glossary.md'
TERMS = (
    'Occ3D', 'camera mask', 'lift, plain', 'lift, strong', 'surface-aligned start', 'role number',
    'rival', 'card', 'anchor', 'SILog', 'neck', 'twin', 'set', 'preset', 'preset `tiny`', 'IoU',
    'mIoU', 'RayIoU', 'expected calibration error',
)  # fmt: skip


def first_column(page: Path) -> set[str]:
    """The words that the tables of a page begin their rows with, commas between them."""
    cells = re.findall(r'^\| ([^|]+) \|', page.read_text(), re.MULTILINE)
    return {word for cell in cells for word in (cell, *cell.split(', '))}


@pytest.mark.parametrize('term', TERMS)
def test_term_is_explained(term: str):
    """field_reports N16: unexplained where first met."""
    assert term in first_column(PAGE)


def test_readme_links_the_page_where_its_tables_need_it():
    """field_reports N16: README explains what its tables need."""
    text = (REPOSITORY / 'README.md').read_text()
    section = text[text.index('## How good, how fast') : text.index('## Limits')]
    assert 'docs/glossary.md' in section
    assert all(word in section for word in ('Occ3D', 'camera\nmask leaves out', 'mIoU:'))


def test_the_engineers_glossary_has_the_same_words():
    """field_reports N16: CONTRIBUTING and the page do not say two things of one."""
    both = first_column(PAGE) & first_column(REPOSITORY / 'CONTRIBUTING.md')
    assert {'set', 'rig', 'vocabulary', 'query'} <= both
