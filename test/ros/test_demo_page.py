"""The page of the demo as a reader sees it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from gausstr_ros.demo.drive import TrueFrame
from gausstr_ros.demo.page import Report, write_page
from gausstr_ros.demo.result import Frame, Words

OLD = Words('a1', ('road', 'car & <trailer>', 'sky'), np.eye(3, dtype=np.uint8))
NEW = Words('b2', ('ground',), np.array([(7, 8, 9)], np.uint8))
REPORT = Report(
    cycles=4,
    sets=5,
    rate=1.25,
    played=2.0,
    stages={'decode': 30.4, 'somewhere': 60.0},
    change='From <old> to new.',
    drive_score=(30.04, 20.96),
    machine='2 cores',
    seed=7,
    facts=['One.', 'Two & three.'],
)
RIVALS = {'lift_strong': (1, 2), 'lift': (3, 4), 'untrained': (5, 6)}


def scores(iou, miou):
    rivals = {key: {'iou': a, 'miou': b} for key, (a, b) in RIVALS.items()}
    return {'iou': iou, 'miou': miou, 'baselines': rivals, 'streets': [1, 2, 3]}


def frame(index):
    labels = np.full((4, 4, 2), -1, np.int16)
    labels[index:] = 0
    truth = TrueFrame(index * 500_000_000, {}, labels, labels >= 0)
    depth = dict.fromkeys(('CAM_BACK', 'CAM_FRONT'), np.zeros((2, 2), np.float32))
    words = OLD if index < 2 else NEW
    return Frame(
        truth, words, labels, np.zeros((4, 4), np.int8), depth, {}, 1234, 0.3 + index / 10
    )


def written(folder, report):
    page = write_page(folder, [frame(index) for index in range(4)], report)
    return page.read_text(encoding='utf-8')


def table(page, number):
    rows = re.findall(r'<tr.*?</tr>', re.findall(r'<table.*?</table>', page, re.S)[number], re.S)
    cells = [re.findall(r'<t[dh][^>]*>(.*?)</t[dh]>', row, re.S) for row in rows]
    return [[unescape(cell) for cell in row] for row in cells]


def test_the_numbers_are_those_of_the_run(tmp_path):
    page = written(tmp_path, REPORT)
    tiles = re.findall(r'class="tile"><b>(.*?)</b><span>(.*?)</span>', page)
    assert [value for value, _ in tiles] == ['1.25 Hz', '450 ms', '30.0 %', '21.0 %', '20']
    assert tiles[0][1].startswith('4 of 5 six-camera') and '2.00 Hz' in tiles[0][1]
    assert '(longest 600 ms)' in tiles[1][1] and '1,234 ellipsoids' in tiles[4][1]
    assert table(page, 1) == [
        ['stage', 'time', ''],
        ['decoding six JPEGs, building the rig', '30 ms', '<i style="width:6.8%"></i>'],
        ['somewhere', '60 ms', '<i style="width:13.3%"></i>'],
        ['end to end: last image sent to map received', '450 ms', '<i style="width:100.0%"></i>'],
    ]


def test_pictures_and_words_follow_the_slider(tmp_path):
    page = written(tmp_path, REPORT)
    rig = re.findall(r'data-picture="(CAM\w+)" src="pictures/(\w+)\.jpg"', page)
    assert rig == [('CAM_FRONT', 'CAM_FRONT_01'), ('CAM_BACK', 'CAM_BACK_01')]
    assert re.findall(r'src="pictures/(above_\d+|grid_\d+)', page) == [
        'above_01', 'above_02', 'grid_01', 'grid_02',
    ]  # fmt: skip
    assert re.findall(r'data-words="(\w+)"( hidden)?', page) == [('a1', ''), ('b2', ' hidden')]
    frames = json.loads(re.findall(r'const frames = (.*);', page)[0])
    assert frames[3] == {'id': '03', 'words': 'b2', 'caption': 'cycle 4 of 4, 1.5 s, 1 words'}
    assert '`pictures/${image.dataset.picture}_${frame.id}.jpg`' in page
    assert 'max="3" value="1"' in page


def test_what_is_shown_is_escaped(tmp_path):
    page = written(tmp_path, REPORT)
    assert '<i style="background:rgb(0,1,0)"></i>car &amp; &lt;trailer&gt;</li>' in page
    assert 'sky' not in page
    assert '<p>From &lt;old&gt; to new.</p>' in page
    assert '<footer>One. Two &amp; three.</footer>' in page


@pytest.mark.parametrize(
    ('with_drive', 'with_card'), [(False, False), (True, False), (True, True)]
)
def test_the_table_of_scores_has_what_is_known(tmp_path, with_drive, with_card):
    drive, card = scores(33.26, 20.14), {'scores': scores(40, 50)}
    report = REPORT
    if with_drive:
        report = replace(REPORT, drive=drive, card=card if with_card else None)
    page = written(tmp_path, report)
    head, *rows = table(page, 0)
    assert head[:3] == ['method', 'IoU, this drive', 'mIoU, this drive']
    assert rows[0][:3] == ['published by the node', '30.0', '21.0']
    assert len(rows) == (5 if with_drive else 1)
    assert ('gausstr-evaluate' in page) == with_drive
    if with_drive:
        assert rows[1][:3] == ['GaussTR compact', '33.3', '20.1']
        assert rows[4][:3] == ['untrained Gaussians', '5.0', '6.0']
    if with_card:
        assert head[3:] == ['IoU, 3 held-out streets', 'mIoU, 3 held-out streets']
        assert rows[0][3:] == ['–', '–'] and rows[1][3:] == ['40.0', '50.0']  # noqa: RUF001
