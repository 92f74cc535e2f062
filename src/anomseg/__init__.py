"""anomseg: anomaly segmentation for any segmentation network."""

from anomseg._version import __version__

__all__ = ["__version__"]
