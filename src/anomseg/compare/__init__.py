"""Comparisons: many detectors on the same benchmarks, with controls, intervals, time and memory, in one table."""

from anomseg.compare.compare import Comparison, compare, read_tables
from anomseg.compare.config import Bench, CompareConfig, CostRules, FitData
from anomseg.compare.reading import parse_config, read_config
from anomseg.compare.rows import Row
from anomseg.compare.table import Entry, Table, make_table
from anomseg.compare.template import template
from anomseg.compare.text import table_markdown

__all__ = [
    "Bench",
    "CompareConfig",
    "Comparison",
    "CostRules",
    "Entry",
    "FitData",
    "Row",
    "Table",
    "compare",
    "make_table",
    "parse_config",
    "read_config",
    "read_tables",
    "table_markdown",
    "template",
]
