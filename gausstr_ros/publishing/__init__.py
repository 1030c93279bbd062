"""What the node sends: outputs made from a mapped set, and who listens to them."""
