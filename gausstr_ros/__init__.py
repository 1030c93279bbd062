"""The ROS 2 node of GaussTR and its tools."""
