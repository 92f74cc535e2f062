import base64
import errno
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from report_parts import card, nulls, picture

from anomseg.errors import DataError
from anomseg.report import pr_curve_figure, write_report
from anomseg.report.html import report_html

VOID_TAGS = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil/x onerror=alert(1)>&amp;\x00\udcff"


class Page(HTMLParser):
    """Checks nesting, and collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def page(*cards, images=None, **options) -> Page:
    defaults = {"curves": {}, "per_image": {}, "skipped": [], "notes": []}
    return Page(report_html("Title", cards, images or {}, **{**defaults, **options}))


def everything(text: str) -> Page:
    return Page(
        report_html(
            text,
            [card(text, benchmark=text, protocol={"name": text, text: text}, segmenter={"name": text, "sha256": text})],
            {text: picture()},
            curves={text: b"\x89PNG\r\n\x1a\n"},
            per_image={text: [{text: text, "ap": 0.5}]},
            skipped=[(text, text)],
            notes=[text],
        )
    )


def test_hostile_names_are_inert():
    result = everything(HOSTILE)
    assert {tag for tag, _ in result.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "caption", "thead", "tbody",
        "tr", "th", "td", "span", "dl", "dt", "dd", "figure", "img", "figcaption", "details", "summary", "script",
    }  # fmt: skip
    # The one script is ours, and the page lets no other run.
    assert sum(tag == "script" for tag, _ in result.tags) == 1
    for _, attributes in result.tags:
        assert not [name for name in attributes if name.startswith("on")]
    assert result.words.count("<script>alert(1)</script>") >= 8


@given(st.text(max_size=30))
def test_any_text_gives_a_valid_page(text):
    result = everything(text)
    assert sum(tag == "h1" for tag, _ in result.tags) == 1


def test_nothing_comes_from_elsewhere(tmp_path):
    write_report(
        tmp_path / "report.html", "Title", [card("msp")], {"frame": picture()}, curves={"PR": pr_curve_figure({})}
    )
    text = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r'(?:src|href|srcset)=(?!"data:)', text)
    assert not re.search(r"url\(|@import|<script|<link", text)
    sources = [attributes["src"] for tag, attributes in Page(text).tags if tag == "img"]
    assert len(sources) == 2
    for source in sources:
        kind, data = re.fullmatch(r"data:(image/\w+);base64,(.+)", source).groups()
        assert Image.open(io.BytesIO(base64.b64decode(data))).get_format_mimetype() == kind


def test_every_picture_says_what_it_is():
    result = page(card("msp"), images={"frame one": picture()}, curves={"PR curve": pr_curve_figure({})})
    assert [attributes["alt"] for tag, attributes in result.tags if tag == "img"] == ["PR curve", "frame one"]


def test_all_that_was_asked_for_is_there():
    result = page(
        card("chance", 0.1),
        card("energy", 0.4, seed=3),
        per_image={"energy": [{"frame": "one", "ap": "0.123456", "fpr95": None, "pixels": "7"}]},
        skipped=[("bad7", "is damaged")],
        notes=["a note"],
    )
    for part in (
        "energy", "0.400", "0.350 to 0.460", "AP per image", "0.350", "nAP", "AUROC", "FPR95", "best F1", "sIoU", "PPV",
        "F1*", "MDM", "smiyc 1", "fpr_rule first>=", "erfnet, 512x1024", "road_anomaly_21", "prevalence 0.1111",
        "Skipped frames: 1", "bad7", "is damaged", "a note", "0.123", "7", "Seed", "10 frames",
    ):  # fmt: skip
        assert part in result.words, part
    rows = [attributes.get("class") for tag, attributes in result.tags if tag == "tr"]
    assert "control first-control" in rows
    assert result.words.index("energy") < result.words.index("chance")


def test_the_only_script_that_may_run_is_the_pages_own():
    text = report_html("t", [], {}, curves={}, per_image={"a": [{"frame": "x"}]}, skipped=[], notes=[])
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_rows_carry_what_they_are_sorted_by():
    rows = [{"frame": '"<b>', "ap": 0.123456, "fpr95": None}]
    result = page(per_image={"a": rows})
    cells = [attributes["data-value"] for tag, attributes in result.tags if tag == "td"]
    assert cells == ['"<b>', "0.123456", ""]


def test_too_many_photographs_are_left_to_the_contact_sheets(monkeypatch):
    monkeypatch.setattr("anomseg.report.html.PHOTO_CHARACTERS", 20_000)
    result = page(images={str(index): picture(index) for index in range(9)})
    kept = sum(tag == "img" for tag, _ in result.tags)
    assert 0 < kept < 9
    assert f"{9 - kept} more are in the pictures contact_sheet.png" in result.words


def test_light_and_dark():
    text = report_html("t", [], {}, curves={}, per_image={}, skipped=[], notes=[])
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text


@pytest.mark.parametrize("cards", [[], [nulls()], [{}], [nulls(), card("energy")]])
def test_nulls_everywhere(cards):
    assert "None" not in page(*cards).words
    assert "nan" not in page(*cards).words


def test_a_hundred_photographs_stay_below_twenty_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:300, 0:1600]
    coarse = np.asarray(Image.fromarray(rng.integers(0, 256, (60, 320, 3), dtype=np.uint8)).resize((1600, 300)))
    photo = (0.5 * coarse + 0.25 * ((rows + columns) % 256)[..., None]).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, format="PNG", compress_level=1)
    write_report(tmp_path / "report.html", "t", [], {"array": photo, "png": stream.getvalue()})
    assert (tmp_path / "report.html").stat().st_size * 50 < 20e6


def test_a_full_disk_leaves_the_earlier_report(tmp_path, monkeypatch):
    write_report(tmp_path / "report.html", "before", [])
    monkeypatch.setattr(
        "anomseg.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )
    with pytest.raises(DataError, match="No space left"):
        write_report(tmp_path / "report.html", "after", [])
    assert "before" in (tmp_path / "report.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
