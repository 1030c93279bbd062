"""gausstr-replay: a bag in, a bag out, without a graph."""
