"""Parameters of the node: declared, checked, read into one record."""
