"""Words: categories, the encoders of text, and what features say of them."""
