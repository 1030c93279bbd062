"""docs/architecture.md leads a reader through the files that an image and a word really go."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ros
pytest.importorskip('rclpy')

from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import PointCloud2
from walks import Walk

from gausstr_msgs.msg import Category
from gausstr_msgs.srv import SetCategories
from gausstr_ros.sets.arrivals import Arrivals

MOST_FILES = {'An image to the grid': 15, 'A word to a label': 8}


@pytest.mark.parametrize('title', MOST_FILES)
def test_a_walk_is_short(title):
    assert len(Walk(title).files('gausstr_ros')) <= MOST_FILES[title]


@pytest.fixture
def walked(start_node, tester, monkeypatch):
    """Play one set into a node of its own; `before` is done when it listens."""
    # images ahead of their set would take some of the steps earlier
    monkeypatch.setattr(Arrivals, '_to_encode', lambda *_: [])

    def walked(title, topic, kind, before=lambda: None):
        with Walk(title).noted() as walk:
            tester.listen(topic, kind)
            start_node()
            tester.wait_matched()
            tester.play_transforms()
            tester.wait_for_report()
            walk.begin()
            before()
            stamp = tester.play_set(0)
            tester.wait(lambda: stamp in tester.stamps(topic), what=topic)
        walk.check()

    return walked


def test_an_image_walks_as_the_page_says(walked):
    walked('An image to the grid', '/gausstr/occupancy_grid', OccupancyGrid)


def test_a_word_walks_as_the_page_says(walked, tester):
    request = SetCategories.Request(categories=[Category(name='car'), Category(name='tree')])

    def ask():
        assert tester.call('/gausstr/set_categories', SetCategories, request).success

    walked('A word to a label', '/gausstr/voxels', PointCloud2, ask)
