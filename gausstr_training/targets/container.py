"""A file of arrays with a header and a checksum over all of it; each array is packed by zstd.

Layout: 16 bytes that name format and version, 16 bytes of BLAKE2b over everything behind them,
4 bytes little-endian length of the header, the header as JSON, the packed arrays in the header's
order. Reading runs no code from the file and unpacks no more than the header promises.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b'gausstr targets1'
DIGEST = 16  # bytes
LEVEL = 3  # of zstd; 9 takes twice the time for 4 % less
DTYPES = ('|i1', '|u1', '<u2', '<f4')
MOST = 2**30  # bytes of one array


class DamagedFile(ValueError):
    """What lies there is not what was written."""


@dataclass(frozen=True)
class Section:
    """One array, packed."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: NDArray[Any]) -> Section:
        """Pack an array of one of `DTYPES`."""
        assert array.dtype.str in DTYPES, array.dtype
        packed = zstd.compress(np.ascontiguousarray(array).tobytes(), LEVEL)
        return cls(array.dtype.str, array.shape, packed)

    def array(self) -> NDArray[Any]:
        """Unpack.

        Raises:
            DamagedFile: it is not an array of that type and shape.
        """
        expected = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        try:
            # one byte more than expected would show
            raw = zstd.ZstdDecompressor().decompress(self.data, expected + 1)
        except zstd.ZstdError as error:
            raise DamagedFile(f'an array cannot be unpacked: {error}') from None
        if len(raw) != expected:
            raise DamagedFile(f'expected an array of {expected} bytes, got {len(raw)} or more')
        return np.frombuffer(bytearray(raw), self.dtype).reshape(self.shape)


def assemble(about: Mapping[str, Any], sections: Mapping[str, Section]) -> bytes:
    """The bytes of a file.

    Args:
        about: what the header says beside the arrays; plain JSON.
        sections: name -> array.
    """
    listed = [[name, s.dtype, list(s.shape), len(s.data)] for name, s in sections.items()]
    header = json.dumps({'about': about, 'sections': listed}, sort_keys=True).encode()
    body = b''.join(
        [struct.pack('<I', len(header)), header, *(section.data for section in sections.values())]
    )
    return MAGIC + blake2b(body, digest_size=DIGEST).digest() + body


def disassemble(data: bytes) -> tuple[dict[str, Any], dict[str, Section]]:
    """Header and arrays of the bytes of a file, each array still packed.

    Raises:
        DamagedFile: it is not such a file, of another version, cut off or changed.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise DamagedFile(f'it does not begin with {MAGIC.decode()!r}')
    start = len(MAGIC) + DIGEST
    if blake2b(data[start:], digest_size=DIGEST).digest() != data[len(MAGIC) : start]:
        raise DamagedFile('the checksum does not agree: it was cut off or changed')
    try:
        (length,) = struct.unpack_from('<I', data, start)
        past = start + 4 + length
        header = json.loads(data[start + 4 : past])
        sections = {}
        for name, dtype, shape, size in header['sections']:
            sections[str(name)] = _section(dtype, shape, data[past : past + size], size)
            past += size
        return dict(header['about']), sections
    except (struct.error, ValueError, TypeError, LookupError) as error:
        raise DamagedFile(f'its header is wrong: {error}') from None


def _section(dtype: Any, shape: Any, data: bytes, size: Any) -> Section:
    whole = all(isinstance(side, int) and side >= 0 for side in shape)
    if dtype not in DTYPES or not whole or len(data) != size:
        raise ValueError(f'no array of {dtype} {shape} in {size} bytes')
    if math.prod(shape) * np.dtype(dtype).itemsize > MOST:
        raise ValueError(f'an array of {dtype} {shape} is too large')
    return Section(dtype, tuple(shape), data)
