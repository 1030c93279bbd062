"""What the node hears: images, depth, calibrations, transforms."""
