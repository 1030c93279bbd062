"""The texts of errors, warnings and drop reasons in the source, with … for what they fill in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

GAP = '…'
# Calls whose texts people read: of loggers, of FaultLog and of Health.
TELLS = {
    'cls', 'connection_fault', 'critical', 'dropped', 'error', 'exception', 'failed', 'halted',
    'lowered', 'note', 'warning', '_dropped', '_refuse', '_stop_soon',
}  # fmt: skip
# Functions whose result is such a text.
RETURNS = {'_mismatch', 'look', 'stuck'}
_KEPT = ('fault', 'response.message')  # attributes that hold one
# What only frames what another text says.
_FRAME = re.compile(r'gausstr-[a-z]+:|cameras?\b')


def messages(folder: Path, rooms: tuple[str, ...]) -> dict[str, str]:
    """Text -> file and line, of the files at the top of a package's folder and of some rooms."""
    paths = [*folder.glob('*.py'), *(p for room in rooms for p in (folder / room).rglob('*.py'))]
    return {
        text: f'{path.relative_to(folder.parent)}:{node.lineno}'
        for path in sorted(paths)
        for text, node in _told(ast.parse(path.read_text()))
        if re.search('[A-Za-z]{4}', _FRAME.sub('', text))
    }


def texts(folder: Path) -> set[str]:
    """Every string below a folder, whatever it is for."""
    return {
        text
        for path in folder.rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text()))
        for text in _templates(node, {})
    }


def _told(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    names = _assigned(tree)
    for node in ast.walk(tree):
        for told in _parts(node):
            for text in _templates(told, names):
                yield text, node


def _parts(node: ast.AST) -> list[ast.expr]:
    """What a node tells people: arguments of errors and of log lines, statuses, reasons."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return node.exc.args
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('drops.update'):
        return [one for one in ast.walk(node) if isinstance(one, ast.Name) and one.id.isupper()]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] in TELLS:
        # Health.note has a name and a value, which are no fault
        return [] if ast.unparse(node.func).endswith('health.note') else node.args
    if isinstance(node, ast.Tuple) and 'DiagnosticStatus.' in ast.unparse(node):
        return node.elts[1:]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith('drops'):
        return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(_KEPT):
        return [node.value]
    if isinstance(node, ast.FunctionDef) and node.name in RETURNS:
        returns = [one for one in ast.walk(node) if isinstance(one, ast.Return) and one.value]
        return [one.value for one in returns]
    return []


def _assigned(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """Name -> what is assigned to it anywhere in a file."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _templates(node: ast.AST, names: dict[str, list[ast.expr]]) -> list[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.Constant):
        text = str(node.value) if isinstance(node.value, str) else ''
        return [' '.join(re.sub('%[sd]', GAP, text).split())] if text else []
    if isinstance(node, ast.JoinedStr):
        parts = [p.value if isinstance(p, ast.Constant) else GAP for p in node.values]
        return [' '.join(''.join(map(str, parts)).split())]
    if isinstance(node, ast.IfExp):
        return _templates(node.body, names) + _templates(node.orelse, names)
    if isinstance(node, ast.ListComp):
        return _templates(node.elt, names)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [f'{text}{GAP}' for text in _templates(node.left, names)]
    if isinstance(node, ast.Name):
        rest = {name: values for name, values in names.items() if name != node.id}
        return [text for value in names.get(node.id, ()) for text in _templates(value, rest)]
    return []
