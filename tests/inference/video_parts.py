"""Tiny videos, whole and broken, written with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

HEIGHT, WIDTH, RATE = 32, 48, 10


def brightness(index: int, count: int = 10) -> int:
    return 20 + index * 200 // count


def pictures(count: int = 10, height: int = HEIGHT, width: int = WIDTH) -> list[np.ndarray]:
    """Grey pictures, each brighter than the one before, with a black corner."""
    made = []
    for index in range(count):
        image = np.full((height, width, 3), brightness(index, count), np.uint8)
        image[: height // 4, : width // 4] = 0
        made.append(image)
    return made


def write_video(path: Path, frames: Sequence[np.ndarray], codec: str = "mpeg4", gop: int = 12, **options: str) -> Path:
    """Frames of one size, ten a second; one of ``gop`` can be decoded by itself."""
    import av

    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", gop
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_packets(path: Path, frames: Sequence[np.ndarray | bytes]) -> Path:
    """Motion JPEG whose frames may change size, and whose packets may be anything at all."""
    import av

    first = next(frame for frame in frames if isinstance(frame, np.ndarray))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuvj420p"
        container.start_encoding()
        for index, frame in enumerate(frames):
            packet = av.Packet(frame if isinstance(frame, bytes) else jpeg(frame))
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base = Fraction(1, RATE)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def jpeg(image: np.ndarray) -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=95)
    return stream.getvalue()


def read_video(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
