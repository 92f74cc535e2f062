"""The picture of F1 against the threshold."""

import io

import numpy as np
import pytest
from PIL import Image

from anomseg.metrics import detection_margin
from anomseg.report import margin_figure
from anomseg.report.figures import COLOURS


def opened(data: bytes) -> np.ndarray:
    assert data.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def curve(height: float) -> dict:
    threshold = np.arange(1000) / 1000
    f1 = height * np.exp(-(((threshold - 0.5) / 0.25) ** 2))
    margin = detection_margin(f1)
    return {"threshold": threshold, "f1": f1, **vars(margin)}


def blue(image: np.ndarray) -> int:
    """Pixels that are paler than the first colour but of its hue: the shading."""
    red, green, tint = (image[..., channel] for channel in range(3))
    return int(((tint - red > 12) & (green - red > 3) & (red > 90)).sum())


def test_deterministic_and_whole():
    names = ["maskomaly", "_hidden", "$x_{", "chance", *(f"d{index}" for index in range(9))]
    given = {name: curve(0.95) for name in names}
    first = margin_figure(given, title="$broken{", note="protocol " * 40, controls=["chance"])
    assert first == margin_figure(given, title="$broken{", note="protocol " * 40, controls=["chance"])
    image = opened(first)
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge == 255).all()
    assert opened(margin_figure({})).shape[2] == 3


def test_the_margin_is_shaded_where_there_is_one():
    wide, none = (opened(margin_figure({"a": curve(height)}, controls=[])) for height in (0.95, 0.6))
    control = opened(margin_figure({"a": curve(0.95)}, controls=["a"]))
    assert blue(wide) > 5 * max(blue(none), blue(control), 1)
    assert COLOURS[0] == "#0072B2"


@pytest.mark.parametrize("height", [0.95, 0.6])
def test_the_ends_are_told(height, monkeypatch):
    """The legend's text, as it is handed to the drawing."""
    from matplotlib.axes import Axes

    told = []
    plain = Axes.legend
    monkeypatch.setattr(
        Axes, "legend", lambda axes, handles, texts, **more: told.extend(texts) or plain(axes, handles, texts, **more)
    )
    given = curve(height)
    margin_figure({"a": given}, controls=[])
    ends = given["interval"]
    expected = f"from {ends[0]:.3f} to {ends[1]:.3f}" if ends else "F1 never above 0.7, at most 0.600"
    assert expected in told[0]
    assert told[-1] == "quality 0.7"
