"""The pictures a page holds of each frame: exact samples, within their budget."""

import base64
import io

import numpy as np
import pytest
from explorer_parts import WORDS, made_frames, opened_url, table_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anomseg.report.explorer import explorer_data, inert_json
from anomseg.report.html import write_report
from anomseg.report.shown_frames import ShownFrames, photo_within, png_within, spread_frames, thinned


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def test_a_small_map_is_kept_whole():
    values = noise(20, 30)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_within(values, 10_000)))), values)


@pytest.mark.parametrize("allowed", [20_000, 3000, 900])
def test_a_map_is_thinned_to_its_allowance(allowed):
    values = noise(300, 500)
    data = png_within(values, allowed)
    assert len(data) <= allowed
    assert len(data) > allowed / 3
    shown = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(shown, thinned(values, shown.shape[1]))


def test_thinned_values_are_values_of_the_map():
    rows, columns = np.mgrid[:90, :160]
    assert np.array_equal(thinned((rows + columns).astype(np.uint8), 160), (rows + columns).astype(np.uint8))
    small = thinned(columns.astype(np.uint8), 16)
    assert small.shape == (9, 16)
    assert small[0].tolist() == list(range(5, 160, 10))


def test_a_photograph_fits():
    image = np.stack([noise(200, 300, seed) for seed in range(3)], -1)
    assert len(photo_within(image, 4000)) <= 4000 * 4 / 3 + 50


@given(st.lists(st.lists(st.integers(0, 30).map(str), max_size=6), max_size=4), st.integers(1, 40), st.integers(0, 31))
def test_chosen_frames_come_first_then_the_rest_in_the_order_of_the_run(chosen, count, total):
    order = [str(index) for index in range(total)]
    found = spread_frames(chosen, order, count)
    assert len(found) == min(count, total)
    assert list(found) == sorted(found, key=int)
    telling = {one for part in chosen for one in part} & set(order)
    assert telling <= set(found) or len(telling) > count


def test_each_network_has_its_class_map_once():
    frames = made_frames(2)
    tables = {name: table_of(frames) for name in ("a", "b", "c")}
    one, other = np.zeros((32, 48), np.uint8), np.ones((32, 48), np.uint8)
    shown = ShownFrames([frame.id for frame, _ in frames], tables, {"a": one, "b": other, "c": one}.get)
    for frame, score in frames:
        for name in tables:
            shown.add(frame, frame.image(), name, score)
    for frame in shown.listed():
        assert [part["classes"] for part in frame["maps"]] == [0, 1, 0]
        assert len(frame["classes"]) == 2
        assert (opened_url(frame["classes"][1]) == 1).all()


def test_levels_on_the_page_give_the_mask_of_the_scores():
    frames = made_frames(1)
    frame, score = frames[0]
    table = table_of(frames)
    shown = ShownFrames([frame.id], {"a": table})
    shown.add(frame, frame.image(), "a", score)
    shown.add(frame, frame.image(), "no table", score)
    (kept,) = shown.listed()
    levels = opened_url(kept["maps"][0]["levels"])
    for place in (0, table.best_f1, table.recall95):
        assert np.array_equal(levels > place, score.astype(np.float64) >= table.thresholds[place])
    assert np.array_equal(opened_url(kept["truth"]), frame.label)
    assert (kept["width"], kept["height"]) == (48, 32)


def test_frames_that_were_not_chosen_are_passed_over():
    frames = made_frames(2)
    shown = ShownFrames(["other"], {"a": table_of(frames)})
    shown.add(frames[0][0], frames[0][0].image(), "a", frames[0][1])
    assert shown.listed() == []


def test_a_hundred_frames_of_noise_stay_below_twenty_megabytes(tmp_path):
    # Every frame is as hard to compress as can be; all are the same picture, to spare time.
    frames = made_frames(1, size=(120, 200))
    (frame, score), table = frames[0], table_of(frames)
    tables = dict.fromkeys("abcd", table)
    shown = ShownFrames([frame.id, *(str(index) for index in range(99))], tables, budget=7_500_000)
    for name in tables:
        shown.add(frame, frame.image(), name, score)
    (kept,) = shown.listed()
    data = explorer_data({name: {"detector": {"name": "msp"}} for name in tables}, tables, [kept] * 100)
    write_report(tmp_path / "report.html", "t", [], explorer=data)
    assert (tmp_path / "report.html").stat().st_size < 20e6 - 7.5e6


def test_a_margin_without_an_end_on_the_raw_score_is_open_there():
    """A calibrated threshold that no score reaches stands for an infinite one, which a card holds as null."""
    part = {"value": 0.5, "quality": 0.7, "interval": [0.2, 0.9], "interval_raw": [1.5, None]}
    card = {"detector": {"name": "msp"}, "mdm_calibrated": part}
    data = explorer_data({"a": card}, {"a": table_of(made_frames(1))})
    assert data["detectors"][0]["margin"] == {"low": 1.5, "high": None, "quality": 0.7}


@pytest.mark.parametrize("word", WORDS)
def test_no_name_ends_the_data(word):
    text = inert_json({word: [word]})
    assert not set("<>&") & set(text)
    import json

    assert json.loads(text) == {word: [word]}


def test_pictures_are_what_they_say():
    url = photo_within(np.zeros((10, 10, 3), np.uint8), 5000)
    kind, data = url.split(",")
    assert Image.open(io.BytesIO(base64.b64decode(data))).get_format_mimetype() in kind
