"""One set through the core: images encoded, then mapped."""
