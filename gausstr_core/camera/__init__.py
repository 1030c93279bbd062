"""Cameras: how they project, where they hang, and what their images hold."""
