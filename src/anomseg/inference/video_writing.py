"""Pictures to a video file, through PyAV: the file is whole whenever and however the writing ends."""

from __future__ import annotations

import errno
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import DataError
from anomseg.files import cannot_write
from anomseg.inference.video_reading import require_av
from anomseg.types import UInt8Array

#: Fine enough for the times of usual rates, and MPEG-4 takes no finer.
_TICKS = 60_000
_CODECS = {"libx264": {"crf": "20", "preset": "veryfast"}, "mpeg4": {"qscale": "3"}}


class VideoWriter:
    """An MP4 that pictures of one size are added to; H.264 where the installation has it, else MPEG-4.

    It is written beside its place and moved there when closed, with whatever was added until then; without any
    picture nothing is left.

    Args:
        path: The file.
        rate: Frames a second, for the file's header; each picture comes with its own time.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: The file cannot be written.
    """

    def __init__(self, path: str | Path, rate: Fraction) -> None:
        self.path = Path(path)
        self._av = require_av()
        self._rate = rate
        self._container: Any = None
        self._stream: Any = None
        self._last = -1
        self._part = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")

    def add(self, picture: UInt8Array, seconds: float) -> None:
        """Append a picture.

        Args:
            picture: ``(H, W, 3)`` uint8 RGB; all of one size.
            seconds: When it is shown; at the earliest one tick after the one before.

        Raises:
            DataError: The file cannot be written.
        """
        try:
            if self._container is None:
                self._open(picture.shape[0], picture.shape[1])
            frame = self._av.VideoFrame.from_ndarray(_even(picture), format="rgb24")
            self._last = max(self._last + 1, round(seconds * _TICKS))
            frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(frame))
        except (self._av.error.FFmpegError, OSError) as error:
            raise self._cannot(error) from error

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = self._av.open(str(self._part), "w", format="mp4")
        codec = next(name for name in _CODECS if name in self._av.codecs_available)
        self._stream = self._container.add_stream(codec, rate=self._rate, options=_CODECS[codec])
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)

    def close(self) -> None:
        """Finish the file and move it to its place.

        Raises:
            DataError: It cannot be written.
        """
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            container.mux(self._stream.encode(None))
            container.close()
            self._part.replace(self.path)
        except (self._av.error.FFmpegError, OSError) as error:
            with suppress(self._av.error.FFmpegError, OSError):
                container.close()
            raise self._cannot(error) from error
        finally:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cannot(self, error: Exception) -> DataError:
        number = getattr(error, "errno", None) or errno.EIO
        return cannot_write(self.path, OSError(number, str(getattr(error, "strerror", None) or error)))


def _even(picture: UInt8Array) -> UInt8Array:
    """A picture whose sides are even, as both codecs want them: the last row or column is repeated."""
    return np.pad(picture, ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)), mode="edge")
