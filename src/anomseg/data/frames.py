"""`load_frames`: from the name of a data set and a folder to a list of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomseg.data.dataset import DatasetSpec, HeldOutImages, load_spec
from anomseg.data.labels import ValueTable
from anomseg.data.specs import dataset_spec
from anomseg.types import Frame


def load_frames(
    name: str | DatasetSpec,
    root: str | Path | None = None,
    split: str | None = None,
    layout: str | None = None,
    *,
    held_out: Sequence[str] = (),
    held_out_images: HeldOutImages = "keep",
    label_values: str | ValueTable | None = None,
    limit: int | None = None,
) -> list[Frame]:
    """List the frames of a data set; pixels are decoded when asked for.

    Args:
        name: A registered name, with options where it takes any (``folder:images=photos``), or a declaration.
        root: The folder that holds the data set.
        split: Which part; the data set's default one when None.
        layout: How it lies on disk; found out when None.
        held_out: Classes that count as anomalies, by name: frames then also have an anomaly label.
        held_out_images: What becomes of images that show a held-out class: ``keep`` them (for testing), ``drop``
            them, or mark those pixels ``void`` in the class map (for training).
        label_values: What stored label values mean (``"0:0,1:1,255:255"``), instead of the data set's own table.
        limit: At most so many frames, the first ones.

    Returns:
        Frames sorted by id (2 before 10). Ids are unique and hold no path separator; ``meta["path"]`` is the image
        file. Frames without ground truth have ``label`` None. Decoding raises `FrameError`.

    Raises:
        DataError: The folder is missing or empty, no layout fits (the message says what was looked for), or the
            split is unknown (its splits are listed).
        ConfigError: An unknown name, layout, class or label table.
    """
    spec = dataset_spec(name) if isinstance(name, str) else name
    return load_spec(
        spec,
        root,
        split,
        layout,
        held_out=held_out,
        held_out_images=held_out_images,
        label_values=label_values,
        limit=limit,
    )
