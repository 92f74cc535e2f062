"""Which in-distribution frames a command reads: options that fitting and calibrating share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anomseg.cli.arguments import parse_data

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.types import Frame


def add_selection(parser: ArgumentParser) -> None:
    """Declare what is left out of the frames."""
    parser.add_argument(
        "--held-out", type=str, default=None, help="classes, with commas, that are to stay unseen, as in evaluate"
    )
    parser.add_argument(
        "--held-out-images",
        type=str,
        default="drop",
        help="what becomes of images that show a held-out class: drop them, or void its pixels only",
    )
    parser.add_argument("--limit", type=int, default=None, help="use the first frames of each data set only")


def open_frames(texts: Sequence[str], options: Namespace, split: str) -> list[Frame]:
    """Frames of data sets as written on the command line.

    Args:
        texts: ``NAME=ROOT[@SPLIT]`` each.
        options: With what `add_selection` declares.
        split: The split where none is written, of sets that have it; the set's own elsewhere.
    """
    from anomseg.data import dataset_spec, load_frames

    frames: list[Frame] = []
    for text in texts:
        dataset, root, written = parse_data(text)
        if written is None and any(one.name == split for one in dataset_spec(dataset).splits):
            written = split
        frames += load_frames(
            dataset,
            root=root,
            split=written,
            held_out=options.held_out or (),
            held_out_images=options.held_out_images if options.held_out else "keep",
            limit=options.limit,
        )
    return frames
