"""Builds a folder of pasted frames, from a seed or again from its manifest."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from anomseg._version import __version__
from anomseg.data.dataset import DatasetSpec
from anomseg.data.frames import load_frames
from anomseg.data.layout import CLASSES
from anomseg.data.negatives import Negative
from anomseg.data.negatives.inliers import inlier_regions
from anomseg.data.pasted.canvas import Canvas, blank, cut_out, lay
from anomseg.data.pasted.control import CONTROL
from anomseg.data.pasted.draw import Drawer
from anomseg.data.pasted.manifest import (
    Manifest,
    Paste,
    PastedFrame,
    check_name,
    read_manifest,
    write_manifest,
)
from anomseg.data.pasted.options import PasteOptions
from anomseg.data.pasted.stock import Stock, pixels_hash
from anomseg.data.specs import dataset_spec
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.files import write_bytes
from anomseg.types import Frame, UInt8Array

IMAGES, LABELS = "images", "labels_masks"
Progress = Callable[[int, int, str], None]


def _silent(done: int, total: int, text: str) -> None:
    del done, total, text


def build_pasted(
    base: str,
    root: str | Path,
    out: str | Path,
    negatives: Sequence[Negative] = (),
    options: PasteOptions = PasteOptions(),  # noqa: B008 - frozen
    *,
    split: str | None = None,
    limit: int | None = None,
    described: Mapping[str, Any] | None = None,
    on_progress: Progress = _silent,
) -> Manifest:
    """Paste on the frames of a data set and write images, labels, class maps, control maps and the manifest.

    Args:
        base: The data set, with options where it takes any.
        root: Its folder.
        out: The folder to write; it must be new or empty.
        negatives: What objects are cut out of; none are needed for inlier pastes alone.
        options: What is pasted, and how.
        split: The part of the data set; its default one when None.
        limit: The first frames only.
        described: What the manifest says of the negatives.
        on_progress: Called after each frame.

    Returns:
        The manifest, as it was written. Frames that could not be used are listed in ``skipped``.

    Raises:
        ConfigError: An unknown data set, split or class; inlier pastes on frames without classes.
        DataError: Data cannot be found, ``out`` is not empty, nothing fits, or a file cannot be written.
    """
    spec = dataset_spec(base)
    frames = load_frames(spec, root, split)
    drawer = Drawer(frames, Stock(negatives, _inliers(spec, frames, options), spec.label_space), options)
    folder = _new_folder(out)
    chosen = frames[:limit]
    done: list[PastedFrame] = []
    skipped: dict[str, str] = {}
    for number, frame in enumerate(chosen, 1):
        try:
            canvas, pastes = drawer.paste_on(frame)
            done.append(_write(folder, frame, canvas, pastes))
        except FrameError as error:
            skipped[frame.id] = str(error)
        on_progress(number, len(chosen), f"paste {frame.id}")
    if not done:
        raise DataError(f"nothing could be pasted on any of {len(chosen)} frames; {next(iter(skipped.values()))}")
    manifest = Manifest(
        base,
        spec.split(split).name,
        options,
        tuple(done),
        {**(described or {}), "images": len(negatives), "unreadable": drawer.unreadable},
        _libraries(),
        skipped,
    )
    write_manifest(folder, manifest)
    return manifest


def rebuild_pasted(
    manifest: str | Path,
    root: str | Path,
    out: str | Path,
    negatives: Sequence[Negative] = (),
    *,
    on_progress: Progress = _silent,
) -> Manifest:
    """Build a folder again from its manifest, bit-equal.

    Args:
        manifest: The file, or the folder that holds it.
        root: Folder of the base data set.
        out: The folder to write; it must be new or empty.
        negatives: At least those that the manifest names.
        on_progress: Called after each frame.

    Raises:
        DataError: The manifest is damaged, an image is missing or another one than it was, or other pixels come out
            (the message names the libraries that drew the first ones); ``out`` is not empty.
        FrameError: An image cannot be read.
    """
    plan = read_manifest(manifest)
    spec = dataset_spec(plan.base)
    frames = load_frames(spec, root, plan.split)
    by_id = {frame.id: frame for frame in frames}
    stock = Stock(negatives, _inliers(spec, frames, plan.options), spec.label_space)
    folder = _new_folder(out)
    for number, planned in enumerate(plan.frames, 1):
        frame = by_id.get(planned.id)
        if frame is None:
            raise DataError(f"{plan.base} in {root} has no frame {planned.id}, which the manifest names")
        canvas = blank(frame)
        _same(planned.base_sha256, pixels_hash(canvas.image), f"frame {frame.id}")
        for paste in planned.pastes:
            canvas = _repeat(canvas, paste, stock)
        written = _write(folder, frame, canvas, planned.pastes)
        if written.sha256 != planned.sha256:
            drawn = ", ".join(f"{name} {version}" for name, version in plan.libraries.items())
            raise DataError(f"{frame.id} does not come out as it was; it was drawn with {drawn}")
        on_progress(number, len(plan.frames), f"paste {frame.id}")
    write_manifest(folder, plan)
    return plan


def _repeat(canvas: Canvas, paste: Paste, stock: Stock) -> Canvas:
    source = stock.source(paste.kind, paste.source)
    _same(paste.sha256, source.sha256, f"image {paste.source}")
    inside = all(at + side <= most for at, side, most in zip(paste.place, paste.size, canvas.size, strict=True))
    region = source.regions[paste.region] if paste.region < len(source.regions) else None
    if region is None or region.box != paste.box or not inside:
        raise DataError(f"region {paste.region} of {paste.source} is not the one that was pasted; use the same masks")
    category = stock.category(paste.kind, paste.category)
    cutout = cut_out(source.image, region, paste.size, paste.shape)
    return lay(canvas, cutout, paste.place, paste.blending, category)


def _same(wanted: str, found: str, what: str) -> None:
    if wanted != found:
        raise DataError(f"{what} has other pixels than when the manifest was made; use the same files")


def _inliers(spec: DatasetSpec, frames: Sequence[Frame], options: PasteOptions) -> list[Negative]:
    """What inlier pastes are cut out of; nothing where none are wanted."""
    if not options.inliers:
        return []
    if spec.label_space is None or not any(frame.has_classes for frame in frames):
        raise ConfigError(f"{spec.name} has no class maps to cut inliers out of; give --inliers 0")
    return inlier_regions(frames, spec.label_space.names, options.classes)


def _new_folder(out: str | Path) -> Path:
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty; choose another --out, or remove it")
    return folder


def _write(folder: Path, frame: Frame, canvas: Canvas, pastes: tuple[Paste, ...]) -> PastedFrame:
    name = f"{check_name(frame.id)}.png"
    maps = {IMAGES: canvas.image, LABELS: canvas.label, CLASSES: canvas.classes, CONTROL: canvas.control}
    for part, pixels in maps.items():
        if pixels is not None:
            write_bytes(folder / part / name, _png(pixels))
    return PastedFrame(frame.id, pixels_hash(frame.image()), pixels_hash(canvas.image), pastes)


def _png(pixels: UInt8Array) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _libraries() -> dict[str, str]:
    return {"anomseg": __version__, "numpy": np.__version__, "pillow": PIL.__version__}
