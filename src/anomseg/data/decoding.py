"""Decoding image and label files: by content, within a size bound, into one form.

Only a fixed list of raster formats is tried, the header is read before any pixel, and whatever goes wrong is a
`FrameError` of one line that names the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anomseg.errors import FrameError
from anomseg.types import UInt8Array

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
IMAGE_SUFFIXES = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".gif",
    }
)
MAX_PIXELS = 100_000_000

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*", b"GIF8")
_NETPBM = tuple(f"P{digit}{blank}".encode() for digit in range(1, 7) for blank in " \t\r\n")
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_ORIENTATION = 0x0112
_TURNED = frozenset({5, 6, 7, 8})
# Grey PNG of 2 or 4 bits is stretched to the full range on reading; labels are brought back to their own values.
_STRETCHED = {"L;2": 85, "L;4": 17}


def decode_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode an image to eight-bit RGB, whatever its file is called.

    Turned upright by its EXIF orientation; grey is repeated, palettes are looked up, a fourth (alpha) channel is
    dropped without blending, 16 bits are reduced to their upper 8, CMYK is converted. Gamma chunks and colour
    profiles are ignored. Of an animation or several pages the first is taken.

    Args:
        source: A file, or the bytes of one.
        max_pixels: The largest width times height that is decoded.

    Returns:
        ``(H, W, 3)`` uint8, values 0..255, C-contiguous.

    Raises:
        FrameError: Missing, unreadable, truncated, too large, not one of the formats, or with floating-point or
            32-bit values.
    """
    with _opened(source, max_pixels) as image:
        image.load()
        return np.ascontiguousarray(_to_rgb(_upright(image), image.format, _name(source)))


def decode_label(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a label map: the stored numbers of its one channel, never a conversion of colours.

    Args:
        source: A file, or the bytes of one; eight bits or fewer, grey or palette (the palette's indices are read).
        max_pixels: The largest width times height that is decoded.

    Returns:
        ``(H, W)`` uint8.

    Raises:
        FrameError: Missing, unreadable, too large, with more than one channel or more than 8 bits.
    """
    name = _name(source)
    with _opened(source, max_pixels) as image:
        if image.mode not in ("1", "L", "P"):
            raise FrameError(f"label {name} {_label_fault(image.mode)}")
        raw = _raw_mode(image)
        image.load()
        values = np.array(image, dtype=np.uint8)
    return values // _STRETCHED[raw] if raw in _STRETCHED else values


def decode_numbers(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.int32]:
    """Decode a map of numbers of up to 16 bits, such as those of instances.

    Args:
        source: A file, or the bytes of one; grey or palette (the palette's indices are read).
        max_pixels: The largest width times height that is decoded.

    Returns:
        ``(H, W)`` int32.

    Raises:
        FrameError: Missing, unreadable, too large, with more than one channel or more than 16 bits.
    """
    with _opened(source, max_pixels) as image:
        if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format in ("PNG", "PPM")):
            image.load()
            return np.asarray(image).astype(np.int32)
    return decode_label(source, max_pixels=max_pixels).astype(np.int32)


def image_size(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """The ``(height, width)`` that `decode_image` would return, from the header alone.

    Raises:
        FrameError: As `decode_image`, as far as the header shows it.
    """
    with _opened(source, max_pixels) as image:
        width, height = image.size
        # A TIFF's size is already reported upright by newer readers, but not by older ones: only decoding tells.
        if image.format == "TIFF" and _orientation(image) in _TURNED:
            image.load()
            width, height = _upright(image).size
        elif _orientation(image) in _TURNED:
            width, height = height, width
    return height, width


def is_image_file(path: str | Path) -> bool:
    """Whether a file is meant as an image: by a usual suffix, else by its first bytes."""
    if Path(path).suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return _begins_like_an_image(head)


def _begins_like_an_image(head: bytes) -> bool:
    return head.startswith(_MAGIC + _NETPBM) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _name(source: str | Path | bytes) -> str:
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else str(source)


@contextmanager
def _opened(source: str | Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Open by header, check the size, and turn every failure inside the block into a `FrameError`."""
    name = _name(source)
    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        raise FrameError(f"{name} cannot be read: {error.strerror or error}") from error
    with stream:
        try:
            with Image.open(stream, formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise FrameError(
                        f"{name} has {width}x{height} pixels, more than the bound of {max_pixels / 1e6:g} million; "
                        "make it smaller, or decode it with a larger max_pixels"
                    )
                yield image
        except FrameError:
            raise
        except Image.UnidentifiedImageError as error:
            stream.seek(0)
            if _begins_like_an_image(stream.read(12)):
                fault = "is damaged or of an unusual kind; save it anew as an 8-bit PNG or JPEG"
                raise FrameError(f"{name} begins like an image, but {fault}") from error
            raise FrameError(f"{name} is not an image of a known format ({', '.join(FORMATS)})") from error
        except Image.DecompressionBombError as error:
            raise FrameError(f"{name} is far too large to be decoded; make it smaller") from error
        except MemoryError as error:
            raise FrameError(f"{name} does not fit into memory; make it smaller") from error
        except Exception as error:  # the decoders raise many kinds on damaged files
            raise FrameError(f"{name} is damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def _raw_mode(image: Image.Image) -> str:
    """How the samples are stored (``L;2``), known until the image is loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing about orientation
        return 1


def _upright(image: Image.Image) -> Image.Image:
    if _orientation(image) == 1:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block does not spoil the pixels
        return image


def _to_rgb(image: Image.Image, file_format: str | None, name: str) -> UInt8Array:
    mode = image.mode
    if mode in _SIXTEEN_BIT or (mode == "I" and file_format in ("PNG", "PPM")):
        upper = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(upper[:, :, None], 3, axis=2)
    if mode not in _EIGHT_BIT:
        kind = "floating-point" if mode == "F" else f"{mode!r}"
        raise FrameError(f"{name} holds {kind} values, whose range is unknown; convert it to 8-bit RGB")
    if mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image if mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _label_fault(mode: str) -> str:
    if mode in _SIXTEEN_BIT or mode in ("I", "F"):
        return "has more than 8 bits; save the class numbers as an 8-bit grey PNG"
    return f"is stored as {mode} colours, not numbers; save the class numbers as an 8-bit grey or palette PNG"
