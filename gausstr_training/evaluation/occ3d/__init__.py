"""Label files in the layout of Occ3D-nuScenes, and their scores."""
