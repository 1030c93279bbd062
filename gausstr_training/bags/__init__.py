"""Rosbags: how all of ours are written, and training frames out of them, by index."""
