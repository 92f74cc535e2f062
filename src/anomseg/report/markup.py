"""Text made fit to stand in a page."""

from __future__ import annotations

import re
from html import escape as escape_html

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def escape(text: object) -> str:
    """Any text made inert: markup escaped, control characters and broken surrogates replaced."""
    return escape_html(_UNPRINTABLE.sub("\ufffd", str(text)), quote=True)
