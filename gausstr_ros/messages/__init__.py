"""Arrays, pictures and stamps <-> ROS messages: pure functions."""
