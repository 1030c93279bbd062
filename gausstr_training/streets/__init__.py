"""Synthetic streets: procedural scenes, ray-cast images and exact truth, written as rosbags."""
