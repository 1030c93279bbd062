"""Bags of ROS 2 without ROS: raw messages read from any storage, written to MCAP."""
