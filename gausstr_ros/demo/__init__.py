"""gausstr-demo: a drive through the node, and a page about what came out."""
