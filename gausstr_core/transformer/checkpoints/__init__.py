"""Checkpoints of transformers: ours and the published ones, loaded and converted."""
