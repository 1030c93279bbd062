"""What the node tells of itself: diagnostics, logs, stage times, faults."""
