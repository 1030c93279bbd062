"""The process of the node, its life cycle, and the worker that maps."""
