"""The part of a page of the documentation that a script writes; what stands around it is written by hand."""

from __future__ import annotations

from pathlib import Path

from anomseg.errors import DataError
from anomseg.files import write_text


def replace_section(page: Path, text: str) -> None:
    """Put a text between the two marks of a page, ``<!-- generated: ... -->`` and ``<!-- end of generated -->``.

    Raises:
        DataError: The page or its marks are missing.
    """
    if not page.is_file():
        raise DataError(f"{page} is missing; run this from the folder of the repository, or give --docs")
    lines = page.read_text("utf-8").splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("<!-- generated:")]
    ends = [place for place, line in enumerate(lines) if line == "<!-- end of generated -->"]
    if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
        raise DataError(f"{page} has no part to write between its marks; restore them")
    write_text(page, "\n".join([*lines[: starts[0] + 1], "", text.strip(), "", *lines[ends[0] :]]) + "\n")
