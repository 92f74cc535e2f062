"""Synthetic outliers: a Real NVP that learns the data and, jointly with a classifier, its border."""
