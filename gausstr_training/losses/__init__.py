"""What Gaussians are trained by, for compact and full models alike."""
