"""Generated scenes as frames, and as a folder of files."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from anomseg.data.generated.scene import generate_scene
from anomseg.errors import ConfigError
from anomseg.files import atomic_write
from anomseg.types import Frame, UInt8Array

LAYOUTS = ("repackaged",)

# Image, classes and label of one frame are asked for one after the other: the last few scenes are kept.
_remembered = lru_cache(maxsize=4)(generate_scene)


def scene_seed(seed: int, index: int) -> int:
    """Seed of the scene at ``index`` of the sequence that starts from ``seed``; sequences do not share scenes."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0])


def generated_frames(
    count: int,
    seed: int = 0,
    size: tuple[int, int] = (360, 480),
    objects: int | None = 1,
    kinds: tuple[str, ...] | None = None,
    clean: bool = False,
) -> list[Frame]:
    """Frames of generated scenes, drawn when their pixels are asked for.

    Args:
        count: Number of frames.
        seed: Start of the sequence; the first frames of a longer list are those of a shorter one.
        size: ``(height, width)`` in pixels.
        objects: Odd objects in each, 0 to 3; None for 1 to 3 by chance.
        kinds: Kinds of odd objects to choose from; all when None.
        clean: No odd objects at all: labels are ground truth of zeros.

    Returns:
        Frames with the ids ``scene-0000``, ``scene-0001``..., each its own group, with classes and label.

    Raises:
        ConfigError: ``count`` or ``seed`` is negative. Anything else that cannot be drawn is told when a frame is.

    Example:
        >>> frames = generated_frames(2, size=(64, 96))
        >>> [frame.id for frame in frames], frames[1].image().shape
        (['scene-0000', 'scene-0001'], (64, 96, 3))
    """
    if count < 0 or seed < 0:
        raise ConfigError(f"count {count} and seed {seed} of generated frames must not be negative")
    number = 0 if clean else objects
    return [_frame(index, scene_seed(seed, index), size, number, kinds) for index in range(count)]


def _frame(index: int, seed: int, size: tuple[int, int], objects: int | None, kinds: tuple[str, ...] | None) -> Frame:
    def draw(part: str) -> UInt8Array:
        scene = _remembered(seed, (size[0], size[1]), objects, tuple(kinds) if kinds else None)
        return getattr(scene, part).copy()

    name = f"scene-{index:04d}"
    return Frame(
        id=name,
        image=partial(draw, "image"),
        load_classes=partial(draw, "classes"),
        load_label=partial(draw, "label"),
        group=name,
        meta={"seed": seed, "generated": True},
    )


def write_dataset(
    directory: str | Path,
    count: int,
    seed: int = 0,
    size: tuple[int, int] = (360, 480),
    layout: str = "repackaged",
    objects: int | None = 1,
) -> list[Path]:
    """Write generated scenes as a folder that benchmark loaders read.

    Args:
        directory: Where to; made if missing.
        count: Number of scenes.
        seed: Start of the sequence, as in `generated_frames`.
        size: ``(height, width)`` in pixels.
        layout: ``"repackaged"``: ``images/<i>.png``, ``labels_masks/<i>.png`` (0 inlier, 1 anomaly, 255 void) and
            ``classes/<i>.png`` (class indices, 255 void).
        objects: Odd objects in each scene.

    Returns:
        The image files, in order.

    Raises:
        ConfigError: The layout is unknown.
        DataError: A file cannot be written.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"unknown layout {layout!r} of a generated data set: known are {', '.join(LAYOUTS)}")
    root = Path(directory)
    written = []
    for index, frame in enumerate(generated_frames(count, seed, size, objects)):
        parts = {"images": frame.image(), "labels_masks": frame.label, "classes": frame.classes}
        for folder, pixels in parts.items():
            if pixels is not None:
                _write_png(root / folder / f"{index}.png", pixels)
        written.append(root / "images" / f"{index}.png")
    return written


def _write_png(path: Path, pixels: UInt8Array) -> None:
    with atomic_write(path) as stream:
        Image.fromarray(pixels).save(stream, format="PNG")
