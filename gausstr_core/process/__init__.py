"""The process that the method runs in: its memory and its threads."""
