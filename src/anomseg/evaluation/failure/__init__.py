"""The task of failure detection: which pixels of a segmentation are wrong, and how good it is for each class."""
