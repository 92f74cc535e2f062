"""Kinds of source for negatives by name, and `load_negatives`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from anomseg.data.negatives.negative import Negative
from anomseg.data.negatives.regimes import split_by_regime, spread, take_half
from anomseg.errors import ConfigError, DataError
from anomseg.registry import Registry, parse_spec

NEGATIVES = Registry("kind of negatives")
for _name, _target, _summary in (
    ("folder", "folder:FolderNegatives", "any images; names of sub-folders tell what they show"),
    ("imagenet", "imagenet:ImageNetNegatives", "ImageNet by synset, boxes from its XML files where there are any"),
    ("coco_panoptic", "coco:CocoPanopticNegatives", "COCO images with the masks of their panoptic segments"),
    ("pascal_voc", "voc:PascalVocNegatives", "Pascal VOC images with masks or boxes of their objects"),
    ("synthetic", "synthetic:SyntheticNegatives", "textures and shapes made from a seed, no files"),
):
    NEGATIVES.register(_name, f"anomseg.data.negatives.{_target}", _summary)


class NegativeSource(Protocol):
    """A kind of source: its constructor takes plain options, and it lists what lies below a folder."""

    def find(self, root: Path | None, exclude: Sequence[str] | None) -> list[Negative]:
        """All negatives below ``root``, sorted by id, without the excluded categories (None: its own default)."""


def load_negatives(
    source: str,
    root: str | Path | None = None,
    *,
    regime: str = "minus_test_categories",
    half: str | None = None,
    limit: int | None = None,
    exclude: Sequence[str] | None = None,
) -> list[Negative]:
    """List the negatives of a source; pixels are decoded when asked for.

    Args:
        source: A kind of source, with options where it takes any (``coco_panoptic:min_pixels=400``).
        root: The folder it lies in; not asked for by ``synthetic``.
        regime: ``all``, ``minus_test_categories`` (no image that shows a cow, horse, sheep, zebra, giraffe, elephant,
            bird or dog) or ``synthetic_only``.
        half: Only images with an ``even`` or ``odd`` number (COCO: even to train, odd to paste for testing).
        limit: At most so many, evenly spread over the sorted list.
        exclude: Categories that are not cut out; ``road`` stands for all that driving label spaces know. Images left
            without any region are left out. None stands for the source's own default: ``road`` for ``coco_panoptic``
            and ``pascal_voc``, nothing for the others.

    Returns:
        Negatives sorted by id.

    Raises:
        DataError: The folder is missing or holds nothing of the kind, or nothing is left of it.
        ConfigError: An unknown source, option, regime or half.

    Example:
        >>> len(load_negatives("synthetic:count=8", regime="synthetic_only", half="odd"))
        4
    """
    spec = parse_spec(source)
    if regime == "synthetic_only" and NEGATIVES.get(spec.name).name != "synthetic":
        raise ConfigError(f"the regime synthetic_only takes the source synthetic alone, not {spec.name}")
    maker: NegativeSource = NEGATIVES.create_from(spec)
    if isinstance(exclude, str):
        exclude = [name.strip() for name in exclude.split(",")]
    found = maker.find(Path(root).expanduser() if root is not None else None, exclude)
    kept, left_out = split_by_regime(found, regime)
    chosen = spread(take_half(kept, half), limit)
    if not chosen:
        shown = f"; the regime {regime} leaves out {len(left_out)}" if left_out else ""
        shown += f"; {len(kept)} are of the other half" if kept else ""
        raise DataError(f"no negatives are left of {len(found)} of {spec.name} in {root}{shown}")
    return chosen


def checked_folder(root: Path | None, kind: str) -> Path:
    """The folder of a source that needs one.

    Raises:
        DataError: It is not given, does not exist, or is a file.
    """
    if root is None:
        raise DataError(f"negatives of kind {kind} need the folder they lie in; give root")
    if not root.is_dir():
        fault = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {fault}; give the folder of the {kind} negatives")
    return root
