"""Scores as text in rows and columns, the same on the terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Cells under the names of their columns; `str` gives it aligned for a terminal."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]  # title, a cell for every column

    @classmethod
    def of(
        cls,
        columns: Iterable[str],
        rows: Iterable[tuple[str, Iterable[float | None]]],
        digits: int = 1,
    ) -> Table:
        """A table of numbers; a dash for None, nothing where a row has fewer than columns."""
        names = tuple(columns)
        shown = []
        for title, values in rows:
            cells = [shown_number(value, digits) for value in values]
            shown.append((title, tuple(cells + [''] * (len(names) - len(cells)))))
        return cls(names, tuple(shown))

    def __str__(self) -> str:
        lines = [('', *self.columns), *((title, *cells) for title, cells in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return '\n'.join(
            '  '.join(
                [line[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            )
            for line in lines
        )

    def markdown(self) -> str:
        """The table as it stands in the documentation."""
        lines = [('', *self.columns), ('---',) * (len(self.columns) + 1)]
        lines += [(title, *cells) for title, cells in self.rows]
        return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def shown_number(value: float | None, digits: int = 1) -> str:
    """A number with that many decimals, or a dash."""
    return '-' if value is None else f'{value:.{digits}f}'
