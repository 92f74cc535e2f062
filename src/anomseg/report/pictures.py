"""Pictures as data URLs of a moderate size."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, features

from anomseg.types import UInt8Array

MAX_WIDTH = 1800
QUALITY = 80
_KINDS = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def photo_url(picture: bytes | UInt8Array) -> str:
    """A photograph-like picture as a data URL, made smaller by WebP (JPEG where Pillow has no WebP).

    Args:
        picture: PNG, JPEG or WebP bytes, or ``(H, W, 3)`` uint8.
    """
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else Image.open(io.BytesIO(picture))
    image = image.convert("RGB")
    if image.width > MAX_WIDTH:
        image = image.resize((MAX_WIDTH, round(image.height * MAX_WIDTH / image.width)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if features.check("webp"):
        image.save(stream, format="WEBP", quality=QUALITY, method=4)
    else:
        image.save(stream, format="JPEG", quality=QUALITY + 5)
    smaller = stream.getvalue()
    if isinstance(picture, bytes) and len(picture) < len(smaller):
        return drawing_url(picture)
    return drawing_url(smaller)


def drawing_url(picture: bytes) -> str:
    """PNG, JPEG or WebP bytes as they are, as a data URL."""
    kind = next((kind for magic, kind in _KINDS if picture.startswith(magic)), "image/png")
    return f"data:{kind};base64,{base64.b64encode(picture).decode('ascii')}"
