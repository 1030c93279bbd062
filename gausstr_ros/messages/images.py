"""Image messages -> arrays where cv_bridge has to help, and arrays -> image messages."""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from gausstr_core.camera import images
from gausstr_core.camera.images import COLOR, DEEP

_OUTGOING = {'rgb8': (np.uint8, 3), '32FC1': (np.float32, 1)}


def rgb_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """RGB pixels [H, W, 3] of a raw or compressed image, of rare encodings through cv_bridge.

    Raises:
        ValueError: the image is damaged, empty or of an encoding that cannot be read.
    """
    if isinstance(message, CompressedImage) or images.is_known(message.encoding):
        return images.rgb_image(message)
    return _by_cv_bridge(message)


def image_message(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """A raw image of rgb8 [H, W, 3] or 32FC1 [H, W] pixels.

    Not made by cv_bridge: what the node shows has to come out on every install, and a cv_bridge
    built for another NumPy does not load (vision_opencv 535).
    """
    dtype, channels = _OUTGOING[encoding]
    assert pixels.dtype == dtype and pixels.ndim == (3 if channels > 1 else 2)
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding)
    message.step = width * channels * pixels.itemsize
    message.is_bigendian = int(sys.byteorder == 'big')
    message.data = array.array('B', np.ascontiguousarray(pixels).tobytes())
    return message


def _by_cv_bridge(message: Image) -> NDArray[np.uint8]:
    images.check_size(message)
    known = ', '.join((*COLOR, *DEEP))
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # built against another NumPy it raises what it likes
        raise ValueError(
            f'encoding {message.encoding!r} needs cv_bridge, which does not load ({error}); '
            f'install a cv_bridge built for this NumPy, or let the camera send one of {known}'
        ) from error
    try:
        return CvBridge().imgmsg_to_cv2(message, 'rgb8')
    except Exception as error:  # CvBridgeError, cv2.error, ...
        raise ValueError(
            f'encoding {message.encoding!r} cannot be read: {error}; let the camera send one of '
            f'{known}'
        ) from error
