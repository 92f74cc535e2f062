"""The frames and labels behind out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Mapping

from anomseg.data import dataset_spec
from anomseg.errors import DataError
from anomseg.training.folds import Folds
from anomseg.training.label_table import TaughtClasses
from anomseg.training.labelled import SourceConfig, load_source
from anomseg.types import Frame, UInt8Array


def predicted_frames(folds: Folds, roots: Mapping[str, str | None]) -> tuple[list[Frame], UInt8Array]:
    """The frames that out-of-fold predictions are of.

    Args:
        folds: The predictions.
        roots: Folder of each data set.

    Returns:
        The frames in the order of the predictions, and ``(256,)`` uint8, the predicted class that each of their labels
        stands for, 255 where there is none.

    Raises:
        ConfigError: The folder of their data set is not given.
        DataError: Frames are missing or show other images.
    """
    source, held_out = folds.record["source"], folds.record["held_out"]
    taught = TaughtClasses(folds.record["space"], held_out["classes"])
    space = dataset_spec(source["benchmark"]).label_space
    if space is None:
        raise DataError(f"{source['benchmark']} has no class maps to compare the predictions of {folds.folder} with")
    config = SourceConfig(source["benchmark"], source["split"])
    store = load_source(config, roots, source["limit"], taught.withheld(space), held_out["images"], 0)
    return folds.match(store.frames), taught.lookup(space)
