"""The published models: trained on bags, with foundation networks as teachers."""
