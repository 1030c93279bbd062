"""Training frames from a bag in which somebody else uses the same names, or none of ROS."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from bag_files import START, write_bag_of_drive
from mcap_bytes import Topic, write_mcap

from gausstr_training.bags.dataset import BagDataset


def test_messages_of_another_type_or_encoding_are_passed_over(tmp_path: Path) -> None:
    """Field_reports B4; mcap 810, 837, 1302: protobuf, JSON and a second type on our topics."""
    write_bag_of_drive(tmp_path / 'whole' / 'bag', 3)
    bag = shutil.copytree(tmp_path / 'whole', tmp_path / 'mixed') / 'bag'
    times = [(START + n * 100_000_000, b'{"a": 1}') for n in range(5)]
    topics = [
        Topic('/CAM_BACK/camera_info', 'std_msgs/msg/String', 'unknown', 'cdr', times),
        Topic('/CAM_X/image_raw', 'sensor_msgs/msg/Image', 'jsonschema', 'json', times),
        Topic('/log', 'foxglove.Log', 'protobuf', 'protobuf', times),
    ]
    write_mcap(bag / 'more.mcap', topics)
    about = yaml.safe_load((bag / 'metadata.yaml').read_text())
    about['rosbag2_bagfile_information']['relative_file_paths'].append('more.mcap')
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(about))
    whole, mixed = (
        BagDataset([tmp_path / name], cache=tmp_path / 'cache') for name in ('whole', 'mixed')
    )
    assert [frame.stamp for frame in mixed] == [frame.stamp for frame in whole]
    assert mixed[0].rig.names == whole[0].rig.names
