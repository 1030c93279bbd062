"""What comes in a message is data: it opens no file, starts no process and loads no code."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from sensor_msgs.msg import PointCloud2

from gausstr_core.vocabulary.vocabulary import MAX_CATEGORIES, MAX_PROMPTS
from gausstr_msgs.msg import Category
from gausstr_msgs.srv import SetCategories
from gausstr_ros.vocabulary.messages import category_from_message

MARK = 'gausstr-marked'
STRINGS = (f'/tmp/{MARK}', f'../../{MARK}.yaml', f'$(touch {MARK})', f'{MARK}; ls', f'%{MARK}')
WATCHED = ('open', 'os.', 'subprocess.', 'pickle.', 'exec', 'import', 'shutil.', 'ctypes.dlopen')


@pytest.fixture
def audited():
    """Events of the interpreter in which a marked string appears; hooks cannot be removed."""
    seen, watching = [], [True]

    def watch(event, arguments):
        if watching[0] and event.startswith(WATCHED) and MARK in repr(arguments)[:2000]:
            seen.append((event, repr(arguments)[:200]))

    sys.addaudithook(watch)
    yield seen
    watching[0] = False


def test_the_audit_would_notice(audited, tmp_path):
    (tmp_path / MARK).touch()
    (tmp_path / MARK).read_text()
    assert {'open'} <= {event for event, _ in audited}


def test_no_string_of_a_message_reaches_the_file_system_or_a_shell(audited, start_node, tester):
    tester.listen('/gausstr/voxels', PointCloud2)
    start_node()
    tester.wait_matched()
    categories = [Category(name=text, prompts=[text]) for text in STRINGS]
    request = SetCategories.Request(categories=categories)
    reply = tester.call('/gausstr/set_categories', SetCategories, request)
    assert reply.success, reply.message
    tester.play_transforms()
    tester.play_set(0)
    tester.wait(lambda: tester.heard['/gausstr/voxels'], what='map with these words')
    image, info = tester.jpeg(1), tester.camera_info()
    image.format = info.distortion_model = STRINGS[0]
    tester.play_set(1, images={'CAM_A': image}, infos={'CAM_A': info})
    tester.wait_for_text('distortion', MARK)  # the camera's reason
    assert not audited


def test_a_request_is_bounded_before_any_of_its_words_is_looked_at(start_node, tester):
    many = Category(name='car', prompts=['word'] * (MAX_PROMPTS + 1))
    with pytest.raises(ValueError, match=f'at most {MAX_PROMPTS} prompts, got {MAX_PROMPTS + 1}'):
        category_from_message(many)
    with pytest.raises(ValueError, match='at most'):  # the count, not what is wrong with the words
        category_from_message(Category(name='car', prompts=[''] * (MAX_PROMPTS + 1)))
    start_node()
    names = [f'thing {number}' for number in range(MAX_CATEGORIES + 1)]
    request = SetCategories.Request(categories=[Category(name=name) for name in names])
    reply = tester.call('/gausstr/set_categories', SetCategories, request)
    assert not reply.success and f'at most {MAX_CATEGORIES}' in reply.message
