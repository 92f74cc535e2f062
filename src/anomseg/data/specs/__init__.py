"""Data sets by name: each is declared in a module of its own."""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec
from anomseg.registry import Registry, parse_spec

DATASETS = Registry("data set")
_HERE = "anomseg.data.specs"
DATASETS.register("camvid", f"{_HERE}.camvid:camvid", "CamVid, eleven classes of driving video")
DATASETS.register("idd_lite", f"{_HERE}.idd_lite:idd_lite", "India Driving Dataset Lite, seven classes")


def dataset_spec(name: str) -> DatasetSpec:
    """Look a data set up.

    Args:
        name: Its name, with options where it takes any (``folder:images=photos;masks=gt``).

    Raises:
        ConfigError: The name or an option is unknown.

    Example:
        >>> dataset_spec("camvid").label_space.names[:2]
        ('sky', 'building')
    """
    return DATASETS.create_from(parse_spec(name))


__all__ = ["DATASETS", "dataset_spec"]
