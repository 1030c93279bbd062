"""The Gaussian transformer: foundation maps in, 3D Gaussians out."""
