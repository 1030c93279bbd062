"""A report's page as a reader sees it: tables by their id, pictures, text."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np

_VOID = ('meta', 'img', 'br')


class ReportPage(HTMLParser):
    """Parses a page; fails where tags do not close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}  # rows of cells
        self.widths: list[float] = []  # of bars, percent
        self.sources: list[tuple[str, str]] = []  # alt and src of pictures
        self.tags: set[str] = set()
        self.text = ''
        self._open: list[str] = []
        self._table = ''
        self.feed(path.read_text(encoding='utf-8'))
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags.add(tag)
        if tag not in _VOID:
            self._open.append(tag)
        if tag == 'table':
            self._table = str(given['id'])
            self.tables[self._table] = []
        elif tag == 'tr':
            self.tables[self._table].append([])
        elif tag in ('td', 'th'):
            self.tables[self._table][-1].append('')
        elif tag == 'img':
            self.sources.append((str(given['alt']), str(given['src'])))
        style = given.get('style') or ''
        if '--value:' in style:
            self.widths.append(float(style.split('--value:')[1].split(';')[0]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if 'style' in self._open:
            return
        self.text += data
        if 'td' in self._open or 'th' in self._open:
            self.tables[self._table][-1][-1] += data

    def rows(self, table: str) -> dict[str, list[str]]:
        """Cells by the title of their row, white space evened out; without the head."""
        return {
            row[0].strip(): [' '.join(cell.split()) for cell in row[1:]]
            for row in self.tables[table][1:]
        }

    def pictures(self) -> dict[str, np.ndarray]:
        """Decoded pictures by what they show; all of them lie inside the page."""
        found = {}
        for name, source in self.sources:
            kind, data = source.split(',', 1)
            assert kind in ('data:image/png;base64', 'data:image/jpeg;base64')
            found[name] = cv2.imdecode(
                np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR
            )
        return found
