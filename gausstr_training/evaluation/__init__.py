"""Scores of occupancy on streets with truth, beside rivals that use no Gaussians."""
