"""Figures on classes and probability where cards are shown: present with their intervals, absent without a trace."""

from report_parts import card, class_card, nulls

from anomseg.report import CLASSES, markdown_table, plain_table
from anomseg.report.html import report_html


def page(*cards):
    return report_html("Title", cards, {}, curves={}, per_image={}, skipped=[], notes=[])


def test_the_report_has_the_figures_with_their_intervals():
    text = page(class_card("dicnet", 0.51), class_card("msp", 0.72))
    assert "0.510<span" in text
    assert "0.480 to 0.550" in text
    assert "0.410 to 0.470" in text
    for heading in ("EFPR &darr;", "CFPR &darr;", "open mIoU", "Brier of prevalence", "ECE"):
        assert heading in text
    assert "0.118 of the judged inliers" in text
    assert "network 2188304; carried student 1000; total 2189304; state 0" in text
    assert "own closed mIoU" not in text


def test_a_class_map_of_its_own_has_columns_of_its_own():
    own = {"closed_miou": 0.533, "at_tpr95": {"miou": 0.401}}
    text = page(class_card("pgan") | {"own_segmentation": own})
    assert "own closed mIoU" in text
    assert "0.533" in text
    assert "0.401" in text


def test_the_terminal_shows_classes_in_a_table_of_their_own():
    text = plain_table([class_card("dicnet", 0.51), class_card("msp")])
    row = next(line for line in text.splitlines() if line.startswith("dicnet") and "0.618" in line)
    assert row.split()[1:4] == ["0.510", "[0.480,0.550]", "0.280"]
    assert "misclassified: 0.118 of the judged inliers" in text


def test_markdown_columns_and_their_best():
    text = markdown_table([class_card("dicnet", 0.51), class_card("msp", 0.72)], CLASSES)
    assert "| dicnet | **0.510** [0.480, 0.550] |" in text
    assert "| msp | 0.720 [0.690, 0.760] |" in text


def test_nothing_is_shown_where_there_is_nothing():
    for text in (page(card("msp"), nulls()), plain_table([card("msp"), nulls()])):
        assert "EFPR" not in text
        assert "Brier" not in text
        assert "judged inliers" not in text


def test_bands_and_thresholds_from_elsewhere_have_columns_where_they_are():
    told = class_card("msp")
    told |= {"bands": {"10": {"ap": 0.234, "fpr95": 0.876, "ci95": {"ap": [0.2, 0.3]}}, "3": {"ap": None}}}
    told["open_set"] = told["open_set"] | {"two_fold": {"miou": 0.4321}, "at_other_run": {"miou": 0.4567}}
    web, terminal = page(told, card("chance")), plain_table([told, card("chance")])
    for text in (web, terminal):
        assert "AP within 10 px" in text
        assert "0.234" in text
        assert "0.876" in text
        assert "within 3 px" not in text
    assert "0.200 to 0.300" in web
    assert "0.432" in web
    assert "0.457" in web
    assert "within" not in page(class_card("msp"))
