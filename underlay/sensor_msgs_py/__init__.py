"""Subset of sensor_msgs_py: points of PointCloud2 messages as structured arrays."""
