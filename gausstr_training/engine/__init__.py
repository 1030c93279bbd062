"""What every training shares: the loop, its checkpoints and curves, and what it asks of a job."""
