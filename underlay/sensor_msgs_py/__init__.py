"""Subset of sensor_msgs_py."""
