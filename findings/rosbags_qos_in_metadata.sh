#!/usr/bin/env bash
# rosbags: a topic whose QoS in metadata.yaml is not that of the storage vanishes without a word.
# Expected: metadata.yaml describes the bag; topics are found by name and type, or the difference is
# an error. Happens: the topic is listed with its count, and none of its messages is read. QoS is
# edited by hand (for `ros2 bag play`) and changed by tools that merge or convert bags.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'rosbags==0.11.9' 'numpy==2.4.6'
"$work/env/bin/python" - "$work" <<'PYTHON'
import re
import sys
from importlib.metadata import version
from pathlib import Path

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

work, store = Path(sys.argv[1]), get_typestore(Stores.ROS2_JAZZY)
text = store.types['std_msgs/msg/String']
forever = QosTime(2147483647, 4294967295)
qos = Qos(
    QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.VOLATILE, forever, forever,
    QosLiveliness.AUTOMATIC, forever, avoid_ros_namespace_conventions=False,
)
with Writer(work / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
    topic = writer.add_connection(
        '/words', 'std_msgs/msg/String', typestore=store, offered_qos_profiles=[qos]
    )
    for time in range(5):
        raw = store.serialize_cdr(text(data=str(time)), 'std_msgs/msg/String')
        writer.write(topic, time, raw)


def read():
    with Reader(work / 'bag') as reader:
        (connection,) = reader.connections
        return connection.msgcount, reader.message_count, len(list(reader.messages()))


before = read()
metadata = work / 'bag' / 'metadata.yaml'
edited, changes = re.subn(r'depth: 10', 'depth: 20', metadata.read_text())
metadata.write_text(edited)
after = read()
print('rosbags', version('rosbags'))
print('counted in topic, counted in bag, read:', before)
print(f'after depth 10 -> 20 in metadata.yaml ({changes} line): ', after)
print('expected', before, 'or an error')
sys.exit(not (changes == 1 and before == (5, 5, 5) and after == (5, 5, 0)))
PYTHON
