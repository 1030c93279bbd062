#!/usr/bin/env bash
# rosbags: a bag of two files whose times overlap is read file by file, not in the order of time.
# Expected: Reader.messages() yields by time, as it does within one file. Happens: time jumps back at
# the second file; what pairs messages by time then sees half of each pair at the wrong end.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check 'rosbags==0.11.9' 'numpy==2.4.6' 'PyYAML==6.0.3'
"$work/env/bin/python" - "$work" <<'PYTHON'
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import yaml
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

work, store = Path(sys.argv[1]), get_typestore(Stores.ROS2_JAZZY)
text = store.types['std_msgs/msg/String']


def write(name, times):
    with Writer(work / name, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection('/words', 'std_msgs/msg/String', typestore=store)
        for time in times:
            raw = store.serialize_cdr(text(data=str(time)), 'std_msgs/msg/String')
            writer.write(topic, time, raw)
    return yaml.safe_load((work / name / 'metadata.yaml').read_text())


# one bag of two files: the first holds 1 2 3 5, the second 4 6 7
whole, second = write('a', [1, 2, 3, 5]), write('b', [4, 6, 7])
one, two = (meta['rosbag2_bagfile_information'] for meta in (whole, second))
for key in ('relative_file_paths', 'files'):
    one[key] += two[key]
one['message_count'] = one['topics_with_message_count'][0]['message_count'] = 7
one['duration']['nanoseconds'] = 6
shutil.move(work / 'b' / 'b.mcap', work / 'a' / 'b.mcap')
(work / 'a' / 'metadata.yaml').write_text(yaml.safe_dump(whole))

with Reader(work / 'a') as reader:
    plain = [time for _, time, _ in reader.messages()]
with AnyReader([work / 'a']) as reader:
    merged = [time for _, time, _ in reader.messages()]
print('rosbags', version('rosbags'))
print('expected', sorted(plain))
print('Reader  ', plain)
print('AnyReader', merged)
sys.exit(not (plain == merged == [1, 2, 3, 5, 4, 6, 7]))
PYTHON
