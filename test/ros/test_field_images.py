"""Images and calibrations of the field through the node: what is whole is mapped, what is not is
refused by camera and name, and the other cameras go on.
"""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField

pytestmark = pytest.mark.ros
GRID, VOXELS = '/gausstr/occupancy_grid', '/gausstr/voxels'
SIZE = (90, 160)
FOURTEEN = [0.3, 0.02, 1e-3, -5e-4, 0.001, 0.5, 0.1, 0.005, 2e-3, -1e-3, 1e-3, 5e-4, 0.02, -0.03]


def compressed(data, form='jpeg'):
    return CompressedImage(format=form, data=array.array('B', data))


def raw(encoding, channels, dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, channels)).astype(dtype)
    return Image(
        height=SIZE[0], width=SIZE[1], encoding=encoding, data=array.array('B', pixels.tobytes()),
        step=SIZE[1] * channels * pixels.itemsize,
    )  # fmt: skip


def png(pixels, form):
    return compressed(cv2.imencode('.png', pixels)[1].tobytes(), form)


def assert_all_are_mapped(tester, index, **played):
    stamp = tester.play_set(index, **played)
    tester.wait(lambda: stamp in tester.stamps(GRID), what=f'map of set {index}')
    for camera in tester.cameras:
        tester.wait(lambda c=camera: tester.status(c).message == 'ok', what=f'{camera} ok')
    assert not tester.texts_with('a set without')


def assert_refused(tester, index, camera, *reasons, **played):
    """The camera's status says why, and the others are mapped without it."""
    stamp = tester.play_set(index, **played)
    tester.wait(lambda: stamp in tester.stamps(GRID), what=f'map without {camera}')
    shown = tester.wait(
        lambda: all(r in (s := tester.status(camera)).message for r in reasons) and s,
        what=f'{reasons} as the status of {camera}',
    )
    assert shown.level == DiagnosticStatus.ERROR and camera in shown.message


@pytest.fixture
def playing(start, tester):
    tester.texts_with = lambda part: [text for text in tester.texts() if part in text]
    start()
    return tester


def test_jpegs_in_buffers_of_fixed_size_are_mapped_and_cut_ones_are_not(playing):
    """field_reports R7: usb_cam PR 336, 389."""
    tester = playing
    whole = bytes(tester.jpeg(1).data)
    tails = [bytes(2 * len(whole)), b'\xff' * 3 * len(whole), whole[200:] + whole]
    images = {
        camera: compressed(whole + tail)
        for camera, tail in zip(tester.cameras, tails, strict=True)
    }
    assert_all_are_mapped(tester, 0, images=images)
    cut = compressed(whole[: len(whole) // 2] + bytes(len(whole)))
    assert_refused(tester, 10, 'CAM_B', 'truncated JPEG', images={'CAM_B': cut})


def test_compressed_16_bits_are_mapped_where_they_say_what_they_are(playing):
    """field_reports R8: image_common 77, image_transport_plugins 68."""
    tester = playing
    deep = np.random.default_rng(0).integers(0, 2**16, SIZE).astype(np.uint16)
    images = {
        'CAM_A': png(deep, 'bayer_grbg16; png compressed '),
        'CAM_B': png(deep, 'mono16; png compressed '),
        'CAM_C': png(np.dstack([deep] * 3), 'rgb16; png compressed bgr16'),
    }
    assert_all_are_mapped(tester, 0, images=images)
    reasons = ('16 bits in one channel', "'png'", 'mono16')
    assert_refused(tester, 10, 'CAM_B', *reasons, images={'CAM_B': png(deep, 'png')})


@pytest.mark.parametrize('encoding', ['8UC3', '8UC1', '32FC3'])
def test_raw_encodings_that_are_no_colour_name_themselves_and_what_to_send(
    start_node, tester, encoding
):
    """field_reports R9: image_pipeline 821, 377; the underlay has no cv_bridge to blame."""
    tester.listen(GRID, OccupancyGrid)
    for publisher in tester.images.values():
        tester.node.destroy_publisher(publisher)
    tester.images = {c: tester.publisher(Image, f'/{c}/image_raw') for c in tester.cameras}
    start_node(image_transport='raw')
    tester.wait_matched()
    tester.play_transforms()
    good = {camera: raw('mono16', 1, np.uint16) for camera in tester.cameras}
    dtype = np.float32 if '32F' in encoding else np.uint8
    bad = raw(encoding, int(encoding[-1]), dtype)
    stamp = tester.play_set(0, images=good)
    tester.wait(lambda: stamp in tester.stamps(GRID), what='map of mono16')
    reasons = (f"'{encoding}'", 'bgr8', 'not which colours')
    assert_refused(tester, 10, 'CAM_C', *reasons, images={**good, 'CAM_C': bad})
    assert 'install' not in tester.status('CAM_C').message


def test_lenses_with_thin_prism_and_tilt_and_crops_off_the_axis_are_mapped(playing):
    """field_reports R19, R13: rtabmap PR 1560, Orbbec 216."""
    tester = playing
    infos = {camera: tester.camera_info() for camera in tester.cameras}
    infos['CAM_A'].distortion_model, infos['CAM_A'].d = 'rational_polynomial', FOURTEEN
    infos['CAM_B'].d = FOURTEEN[:8]  # under the name of plumb_bob
    crop = tester.camera_info(size=(400, 800), focal=400.0)
    crop.d = [-0.2, 0.03, 0.0, 0.0, 0.0]
    crop.roi.x_offset, crop.roi.y_offset, crop.roi.width, crop.roi.height = 620, 20, 160, 90
    infos['CAM_C'] = crop
    assert_all_are_mapped(tester, 0, infos=infos)


def test_rectified_without_p_blames_p(start, tester):
    """field_reports R22: spinnaker PR 17."""
    start(**{'cameras.CAM_B.rectified': True})
    reasons = ('p describes the images that are rectified', 'fx=0')
    assert_refused(tester, 0, 'CAM_B', *reasons)


def test_the_label_of_the_voxels_is_what_pcl_reads(start, tester):
    """field_reports R21: PCL 3518; PointXYZRGBL has a uint32_t."""
    tester.listen(VOXELS, PointCloud2)
    start()
    stamp = tester.play_set(0)
    tester.wait(lambda: stamp in tester.stamps(VOXELS), what='voxels')
    cloud = tester.heard[VOXELS][-1]
    fields = {field.name: (field.offset, field.datatype, field.count) for field in cloud.fields}
    assert list(fields) == ['x', 'y', 'z', 'rgb', 'label', 'confidence']
    assert fields['label'] == (16, PointField.UINT32, 1) and cloud.point_step == 24
    assert all(offset % 4 == 0 for offset, *_ in fields.values())
    labels = np.frombuffer(cloud.data, np.uint32).reshape(-1, 6)[:, 4]
    assert len(labels) == cloud.width and (labels < 64).all()
