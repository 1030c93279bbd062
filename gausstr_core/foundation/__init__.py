"""Foundation networks: images in, text-aligned features and metric depth out. One file each."""
