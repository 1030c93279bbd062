"""docs/troubleshooting.md knows what node and commands say, and nothing that they do not."""

from __future__ import annotations

import re
from pathlib import Path

from message_texts import messages, texts

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / 'docs' / 'troubleshooting.md'
# all but the demo and the benchmarks, which play both sides themselves
ROOMS = (
    'call', 'cycle', 'health', 'listening', 'messages', 'node', 'publishing', 'replay', 'sets',
    'settings', 'vocabulary',
)  # fmt: skip


def phrases() -> list[str]:
    """What stands in backquotes in the first column of the page's tables."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith('|')]
    cells = [line.split('|')[1] for line in lines]
    return [phrase for cell in cells for phrase in re.findall(r'`([^`]+)`', cell)]


def leads(text: str, phrase: str) -> bool:
    """Whether who reads a text finds it by a phrase: one word must be all of it."""
    return phrase in text if ' ' in phrase else phrase == text.rstrip(':… ')


def test_every_message_leads_to_the_page():
    """Text of an error, a warning or a drop reason that no row begins with: add a row for it."""
    known = phrases()
    assert len(known) > 60
    lost = [
        f'{where}: {text}'
        for text, where in messages(REPOSITORY / 'gausstr_ros', ROOMS).items()
        if not any(leads(text, phrase) for phrase in known)
    ]
    assert not lost, 'not in docs/troubleshooting.md:\n' + '\n'.join(sorted(lost))


def test_every_row_is_of_a_message_that_exists():
    """A row whose text is gone: take it out, or write what is said now."""
    said = texts(REPOSITORY / 'gausstr_ros') | texts(REPOSITORY / 'gausstr_core')
    stale = [p for p in phrases() if not any(p in text or p.strip() in text for text in said)]
    assert not stale, f'nothing says {stale}'
