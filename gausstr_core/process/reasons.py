"""Errors in words: a message names what was found, never an errno or a Python repr."""

from __future__ import annotations


def reason(error: BaseException) -> str:
    """Why something failed, for a message that names the place already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if isinstance(error, KeyError) and error.args:
        return f'{error.args[0]} is missing'
    return ' '.join(str(error).split()) or type(error).__name__


def told(error: BaseException) -> str:
    """The message of a command: as it was written, or the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        places = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ': '.join([*[' -> '.join(places)] * bool(places), reason(error)])
    return str(error) or type(error).__name__
