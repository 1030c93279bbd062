"""What frozen foundation networks say of frames: made once, kept small, read in training."""
