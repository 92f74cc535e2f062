import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_parts import card, nulls

from anomseg.report import differences, markdown_table, plain_table, print_cards
from anomseg.report.cards import best, row_names
from anomseg.report.columns import FIGURES, POOLED, number
from anomseg.report.tables import escape


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_controls_stand_apart_below_the_detectors():
    lines = plain_table([card("chance", 0.1), card("msp", 0.3), card("energy", 0.4)], title="results").splitlines()
    assert lines[0] == "results"
    starts = [line.split()[0] if line else "" for line in lines]
    rule = "-" * 10
    body = lines[1 : lines.index("")]
    assert [line.split()[0] for line in body if not line.startswith(rule)] == ["detector", "msp", "energy", "chance"]
    assert body[-2].startswith(rule)
    assert "chance (control)" in body[-1]
    assert "data:" in starts


def test_numbers_have_three_decimals_and_intervals():
    text = plain_table([card("msp", 0.41239)])
    assert "0.412 [0.362,0.472]" in text
    assert "0.180" in text


def test_prevalence_and_protocol_are_printed():
    text = plain_table([card("msp")])
    assert "prevalence 0.1111" in text
    assert "protocol: smiyc 1: void 255; fpr_rule first>=; aggregation pooled" in text
    assert "erfnet, 512x1024, sha256 30cfe79b3d87" in text


def test_columns_are_aligned():
    lines = plain_table([card("msp", 0.4), card("a_detector_with_a_long_name", 0.3, mdm=None)]).splitlines()
    starts = {
        tuple(match.start() for match in re.finditer(r"(?<=  )\S", line)) for line in (lines[0], lines[2], lines[3])
    }
    assert len(starts) == 1


def test_off_a_terminal_there_are_no_escape_codes():
    stream = io.StringIO()
    print_cards([card("msp"), card("chance")], title="results", stream=stream)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_on_a_terminal_everything_is_there(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    print_cards([card("[red]name"), card("chance")], title="a [bold] title", stream=stream)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    for part in (
        "[red]name",
        "chance",
        "control",
        "a [bold] title",
        "0.400",
        ".350 .460",
        "prevalence 0.1111",
        "smiyc",
    ):
        assert part in text


@pytest.mark.parametrize(
    "cards", [[], [nulls()], [{}], [nulls(), card("energy")], [{"detector": "msp", "pixel": {"ap": "x"}}]]
)
def test_nulls_everywhere(cards, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    plain_table(cards)
    markdown_table(cards)
    print_cards(cards, stream=Terminal())


def test_markdown_is_one_table_with_the_best_in_bold():
    text = markdown_table([card("chance", 0.9), card("msp", 0.3), card("en|ergy", 0.4)])
    rows = text.split("\n\n")[0].splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert rows[3].startswith("| en\\|ergy | **0.400** [0.350, 0.460] |")
    assert rows[4].startswith("| *chance* (control) | 0.900 [")
    assert "- protocol: smiyc 1" in text


def test_lower_is_better_where_it_is():
    worse, better = card("msp"), card("energy")
    better["pixel"] = {**better["pixel"], "fpr95": 0.2}
    fpr95 = next(figure for figure in POOLED if figure.key == "fpr95")
    assert best(fpr95, [worse, better]) == 0.2
    assert "**0.200**" in markdown_table([worse, better], intervals=False)


def test_columns_that_no_card_has_are_left_out():
    assert "MDM" not in markdown_table([card("msp", mdm=None)])
    assert "MDM" in markdown_table([card("msp")])


def compared() -> list[dict]:
    above = {"ap": 0.3, "ci95": [0.2, 0.35], "above": True, "reason": None}
    unknown = {"ap": None, "ci95": None, "above": None, "reason": "they share 3 of 4 frames"}
    return [
        card("energy", 0.4, comparison={"chance": above, "not_road": unknown}),
        card("chance", 0.1, comparison={"not_road": above}),
    ]


def test_differences_to_controls_are_paired_and_their_own_table():
    text = plain_table(compared())
    table = text.split("pooled AP less that of each control, paired:\n")[1].split("\n\n")[0].splitlines()
    assert table[0].split() == ["detector", "AP", "-", "chance"]
    assert table[2].split() == ["energy", "0.300", "[0.200,0.350]"]
    assert len(table) == 3
    assert "| energy | **0.300** [0.200, 0.350] |" in markdown_table(compared()[:1], differences(compared()))


def test_a_card_of_the_network_alone():
    groups = {"day": {"miou": 0.7, "accuracy": 0.9, "frames": 2}, "dusk": {"miou": None, "accuracy": 0.4, "frames": 1}}
    only = {
        "task": "segmentation", "benchmark": "camvid", "split": "test", "detector": None, "frames": 3,
        "segmenter": {"name": "bundled"}, "skipped": [{"frame": "x", "reason": "damaged"}],
        "segmentation": {"miou": 0.61, "accuracy": 0.88, "frames": 3, "by_group": groups},
    }  # fmt: skip
    for text in (plain_table([only]), markdown_table([only])):
        assert "mIoU 0.610, accuracy 0.880; day: mIoU 0.700, accuracy 0.900; dusk: mIoU -, accuracy 0.400" in text
        assert "camvid test; 3 frames; 1 skipped" in text
        assert "|---" not in text


def test_why_there_is_no_interval_is_said():
    assert "intervals: none, one group" in plain_table([card("msp", pixel_ci95=None, pixel_ci95_reason="one group")])


def test_the_folder_names_the_row_and_the_flag_makes_the_control():
    text = plain_table(
        [card("energy", folder="energy-2"), card("mine", detector={"name": "x", "control": True}, folder="m")]
    )
    assert "energy-2" in text
    assert "m (control)" in text


def test_equal_names_are_numbered():
    assert row_names([card("msp"), card("msp"), card("energy")]) == ["msp", "msp-2", "energy"]


@given(st.text())
def test_markdown_cells_cannot_break_the_table(text):
    cell = escape(text)
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", cell)
    assert "<" not in cell


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.text(), st.integers(), st.lists(st.integers()), st.just({})))
def test_only_finite_numbers_are_numbers(value):
    result = number(value)
    assert result is None or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(result) < float("inf")
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["ap", "name", "pixel", "size", "value"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_cards_of_any_shape_are_tolerated(value):
    keys = (*card("x"), *(f"{figure.section}_ci95" for figure in FIGURES), "misclassified", "open_set", "probability")
    cards = [dict.fromkeys(keys, value)]
    plain_table(cards)
    markdown_table(cards)
