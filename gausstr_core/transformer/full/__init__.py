"""The transformer of the published models, full size."""
