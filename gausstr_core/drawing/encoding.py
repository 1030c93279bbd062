"""Pictures made smaller and put into files of their own or into a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from gausstr_core.drawing.maps import Image


def shrink(image: Image, width: int) -> Image:
    """An image at another width, its shape kept."""
    height = round(image.shape[0] * width / image.shape[1])
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def jpeg(picture: Image, quality: int = 88) -> bytes:
    """Encoded bytes of an RGB picture; for photographs."""
    return _encoded('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])


def png(picture: Image) -> bytes:
    """Encoded bytes of an RGB picture; for drawings, whose edges stay sharp."""
    return _encoded('.png', picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def data_uri(encoded: bytes) -> str:
    """An address that holds what `jpeg` or `png` gave, so that a page needs no other file."""
    kind = 'png' if encoded.startswith(b'\x89PNG') else 'jpeg'
    return f'data:image/{kind};base64,{base64.b64encode(encoded).decode()}'


def _encoded(kind: str, picture: Image, settings: list[int]) -> bytes:
    done, data = cv2.imencode(kind, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    assert done
    return data.tobytes()
