"""Sets of images, one per camera, of one instant: pure logic, no ROS."""
