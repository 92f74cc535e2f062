"""Small frames with scores, and the table of their thresholds."""

import base64
import io

import numpy as np
from PIL import Image

from anomseg.metrics import PixelCurve
from anomseg.report.threshold_table import ThresholdTable, threshold_table
from anomseg.types import Frame

WORDS = ["</script><script>alert(1)</script>", "<!--", "a & b", "\u2028 \x00 \"'"]


def made_frames(count: int, size: tuple[int, int] = (32, 48), names=None) -> list[tuple[Frame, np.ndarray]]:
    """Frames with one odd block each and void at the top, and scores that find it in part."""
    made = []
    for index in range(count):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        label = np.zeros(size, np.uint8)
        top, left = int(rng.integers(8, 16)), int(rng.integers(4, 24))
        label[top : top + 10, left : left + 14] = 1
        label[:3] = 255
        score = (rng.normal(size=size) * 0.3 + (label == 1)).astype(np.float32)
        name = names[index] if names else f"frame {index}"
        made.append((Frame(name, lambda image=image: image, load_label=label), score))
    return made


def table_of(frames: list[tuple[Frame, np.ndarray]]) -> ThresholdTable:
    curve = PixelCurve()
    for frame, score in frames:
        curve.update(score, frame.label, frame.id)
    table = threshold_table(curve)
    assert table is not None
    return table


def opened_url(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
