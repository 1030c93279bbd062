"""GaussTR core: the method in torch and numpy, no ROS."""
