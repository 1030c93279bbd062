"""gausstr-call: words, diagnostics and maps of a running node, without the ROS 2 tools."""
