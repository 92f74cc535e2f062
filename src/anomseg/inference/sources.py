"""Anything that stands for one image (path, array, Pillow image, tensor, frame) as one kind of source."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from anomseg.data.decoding import decode_image
from anomseg.errors import DataError, FrameError
from anomseg.files import sha256_of_file
from anomseg.inference.inputs import ImageFile, expand_inputs, safe_name, stands_for_many
from anomseg.types import Frame, UInt8Array

ImageLike = str | os.PathLike[str] | np.ndarray | Image.Image | Tensor | Frame


@dataclass(frozen=True)
class Source:
    """One image yet to be decoded.

    Attributes:
        name: Names its outputs.
        load: Decodes to uint8 RGB ``(H, W, 3)``.
        path: The file it comes from, if any.
    """

    name: str
    load: Callable[[], UInt8Array]
    path: Path | None = None

    def describe(self) -> dict[str, Any]:
        """Path and SHA-256 of the file's bytes; nothing to hash (None) where there is no file.

        Raises:
            FrameError: The file cannot be read.
        """
        if self.path is None:
            return {"path": None, "sha256": None}
        try:
            return {"path": str(self.path), "sha256": sha256_of_file(self.path)}
        except OSError as error:
            raise FrameError(f"{self.path} cannot be read: {error.strerror or error}") from error


def file_source(file: ImageFile) -> Source:
    """The source of an image file."""
    return Source(file.name, lambda: decode_image(file.path), file.path)


def is_single(value: object) -> bool:
    """Whether a value stands for one image, not for several."""
    if isinstance(value, (str, os.PathLike)):
        return not stands_for_many(os.fspath(value))
    return isinstance(value, (np.ndarray, Image.Image, Tensor, Frame))


def single_source(value: ImageLike, name: str = "image") -> Source:
    """The source of one image.

    Args:
        value: A path, an array ``(H, W, 3)`` or ``(H, W)`` (uint8, or float in [0, 1]), a Pillow image, a tensor
            ``(3, H, W)`` (uint8, or float in [0, 1]) or a `Frame`.
        name: Names it where it has no name of its own.

    Raises:
        DataError: A path does not exist, or the value is no image.
    """
    if isinstance(value, (str, os.PathLike)):
        return file_source(expand_inputs([os.fspath(value)])[0])
    if isinstance(value, Frame):
        path = value.meta.get("path")
        return Source(safe_name(value.id), value.image, Path(path) if path else None)
    if isinstance(value, Image.Image):
        return Source(name, lambda: from_pillow(value, name))
    if isinstance(value, Tensor):
        return Source(name, lambda: from_array(_channels_last(value, name), name))
    if isinstance(value, np.ndarray):
        return Source(name, lambda: from_array(value, name))
    raise DataError(f"{type(value).__name__} is no image; give a path, array, Pillow image, tensor or frame")


def sources_of(values: Iterable[ImageLike], *, exclude: str | os.PathLike[str] | None = None) -> Iterator[Source]:
    """Sources of several images, one by one, with names that do not repeat.

    Args:
        values: The images; paths may name folders, globs and lists.
        exclude: A folder whose content is never an input.

    Raises:
        DataError: A path does not exist, nothing was found, or a value is no image.
    """
    if isinstance(values, (list, tuple)) and all(isinstance(value, (str, os.PathLike)) for value in values):
        yield from (file_source(file) for file in expand_inputs(values, exclude=exclude))
        return
    seen: set[str] = set()
    for index, value in enumerate(values):
        parts: Iterable[Source]
        if isinstance(value, (str, os.PathLike)):
            parts = (file_source(file) for file in expand_inputs([value], exclude=exclude))
        else:
            parts = [single_source(value, f"image-{index}")]
        for source in parts:
            name, number = source.name, 2
            while name.casefold() in seen:
                name, number = f"{source.name}-{number}", number + 1
            seen.add(name.casefold())
            yield replace(source, name=name)


def from_pillow(image: Image.Image, name: str = "image") -> UInt8Array:
    """A Pillow image as uint8 RGB ``(H, W, 3)``, turned upright, 16 bits reduced to their upper 8.

    Raises:
        FrameError: It holds floating-point or 32-bit values.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        stream = io.BytesIO()
        upright.save(stream, format="PNG")
        return decode_image(stream.getvalue())
    if upright.mode == "F":
        raise FrameError(f"{name} holds floating-point values, whose range is unknown; convert it to 8-bit RGB")
    return np.array(upright.convert("RGB"), dtype=np.uint8)


def from_array(array: np.ndarray, name: str = "image") -> UInt8Array:
    """An array as uint8 RGB ``(H, W, 3)``.

    Args:
        array: ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` (alpha is dropped), uint8 0..255 or
            float in [0, 1].
        name: Named in errors.

    Raises:
        FrameError: Another shape, type or range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise FrameError(f"{name} has shape {array.shape}; an image array is (height, width, 3)")
    array = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    if np.issubdtype(array.dtype, np.floating):
        # Written so that NaN fails too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise FrameError(f"{name} holds values outside [0, 1]; scale floats to [0, 1] or give uint8")
        return np.round(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise FrameError(f"{name} has type {array.dtype}; give uint8 (0..255) or float in [0, 1]")
    return np.ascontiguousarray(array)


def _channels_last(tensor: Tensor, name: str) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise FrameError(f"{name} has shape {tuple(tensor.shape)}; an image tensor is (3, height, width)")
    array = tensor.detach().cpu().permute(1, 2, 0)
    return (array.float() if array.is_floating_point() else array).numpy()


def array_hash(image: UInt8Array) -> str:
    """SHA-256 over shape and pixels, for images that come from no file."""
    return hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
