"""Result cards for people: terminal and Markdown tables, curves, frame panels and one self-contained page."""

from anomseg.report.columns import (
    CLASSES,
    FAILURE,
    FIGURES,
    OWN_CLASSES,
    PROBABILITY,
    QUALITY,
    Card,
    Figure,
    differences,
)
from anomseg.report.failure_figure import quality_figure
from anomseg.report.failure_panels import failure_panel
from anomseg.report.figures import pr_curve_figure, roc_curve_figure
from anomseg.report.html import write_report
from anomseg.report.margin_figure import margin_figure
from anomseg.report.panels import contact_sheet, frame_panel
from anomseg.report.profile import print_profile, profile_markdown, profile_text
from anomseg.report.prototype_patches import Patch, PrototypeView, find_patches
from anomseg.report.prototype_sheet import prototype_sheet, write_prototypes
from anomseg.report.run_report import write_run_report
from anomseg.report.tables import markdown_table
from anomseg.report.terminal import plain_table, print_cards

__all__ = [
    "CLASSES",
    "FAILURE",
    "FIGURES",
    "OWN_CLASSES",
    "PROBABILITY",
    "QUALITY",
    "Card",
    "Figure",
    "Patch",
    "PrototypeView",
    "contact_sheet",
    "differences",
    "failure_panel",
    "find_patches",
    "frame_panel",
    "margin_figure",
    "markdown_table",
    "plain_table",
    "pr_curve_figure",
    "print_cards",
    "print_profile",
    "profile_markdown",
    "profile_text",
    "prototype_sheet",
    "quality_figure",
    "roc_curve_figure",
    "write_prototypes",
    "write_report",
    "write_run_report",
]
