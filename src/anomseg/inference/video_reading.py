"""Frames of a video file, one after the other, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.types import UInt8Array

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts"})
_USUAL_RATE = Fraction(25)


def is_video(path: str | Path) -> bool:
    """Whether a path names a video, by its suffix.

    Example:
        >>> is_video("drive.MP4"), is_video("street.png")
        (True, False)
    """
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def require_av() -> Any:
    """PyAV, which reads and writes videos.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import av  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("videos need PyAV, which is not installed: pip install 'anomseg[video]'") from error
    return av


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One decoded frame.

    Attributes:
        index: Its number, from 0.
        seconds: Its time within the video, from 0 at the first frame.
        image: ``(H, W, 3)`` uint8 RGB, upright.
    """

    index: int
    seconds: float
    image: UInt8Array


class VideoReader:
    """A video to be read once, from its beginning to its end.

    Use it as a context manager; frames are decoded when they are asked for, and none is kept.

    Args:
        path: The file.

    Attributes:
        rate: Frames a second, as the file declares; 25 where it declares none.
        declared: Frames that the file says it has; 0 where it does not say.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: The file does not exist, is no video, or is cut short so that nothing of it can be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._av = require_av()
        if not self.path.is_file():
            raise DataError(f"{self.path} does not exist")
        try:
            self._container = self._av.open(str(self.path))
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{self.path} cannot be read as a video: {_reason(error)}; is it whole?") from error
        if not self._container.streams.video:
            self._container.close()
            raise DataError(
                f"{self.path} has no pictures: it holds sound or data alone, or is cut short; give a whole video"
            )
        self._stream = self._container.streams.video[0]
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        self.declared = int(self._stream.frames)

    @property
    def expected(self) -> int:
        """About how many frames there are; 0 where nothing tells."""
        if self.declared:
            return self.declared
        duration = self._container.duration
        return int(duration / self._av.time_base * self.rate) if duration else 0

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode frame after frame.

        Raises:
            FrameError: A frame cannot be decoded, or the file ends before it should; those before it are good.
        """
        count, packets, first, reached, last = 0, 0, None, 0, 0
        try:
            for packet in self._container.demux(self._stream):
                packets += packet.size > 0
                if packet.pts is not None:
                    last = packet.duration or 0
                    reached = max(reached, packet.pts + last)
                for frame in packet.decode():
                    seconds = float(frame.time) if frame.time is not None else count / float(self.rate)
                    first = seconds if first is None else first
                    yield VideoFrame(count, max(0.0, seconds - first), _upright(frame))
                    count += 1
        except (self._av.error.FFmpegError, OSError, ValueError) as error:
            raise FrameError(f"{self.path.name}: frame {count} cannot be decoded: {_reason(error)}") from error
        # An edit list that trims the end leaves packets unread too; such a file reaches its length all the same.
        missing = (self._stream.duration or 0) - (reached - (self._stream.start_time or 0))
        if packets < self.declared and (self._stream.duration is None or 2 * missing > last):
            raise FrameError(
                f"{self.path.name} breaks off after frame {count - 1}: it holds {packets} of {self.declared} frames"
            )

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _upright(frame: Any) -> UInt8Array:
    # Telephones store how they were held; degrees count against the clock.
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip().lower() or type(error).__name__
