"""Training frames out of rosbags, by index."""
