"""Deployment: a segmenter and a detector leave as one file that runs without this library."""
