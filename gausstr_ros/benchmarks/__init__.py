"""What make bench measures of the node: six cameras over DDS."""
