"""The classes of the synthetic streets; the order is the index in the truth."""

from __future__ import annotations

CLASSES = (
    'road',
    'sidewalk',
    'terrain',
    'building',
    'pole',
    'vegetation',
    'car',
    'truck',
    'bus',
    'trailer',
    'construction vehicle',
    'motorcycle',
    'bicycle',
    'pedestrian',
    'traffic cone',
    'barrier',
    'sky',
)
(
    ROAD,
    SIDEWALK,
    TERRAIN,
    BUILDING,
    POLE,
    VEGETATION,
    CAR,
    TRUCK,
    BUS,
    TRAILER,
    CONSTRUCTION_VEHICLE,
    MOTORCYCLE,
    BICYCLE,
    PEDESTRIAN,
    TRAFFIC_CONE,
    BARRIER,
    SKY,
) = range(len(CLASSES))

FREE = 17  # in voxel truth: nothing is there
