"""A street as cameras see it."""
