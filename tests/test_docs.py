"""The examples of the documentation, run as a reader would: in order, in an empty folder."""

import re
import shlex
from pathlib import Path

import pytest

from anomseg.cli.main import run

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ["dense_knn.md", "networks.md"]


def blocks(page: str) -> list[tuple[str, str, int]]:
    """Language, code and line of each block that is run; others are marked ``text``."""
    text = (DOCS / page).read_text("utf-8")
    return [(match[1], match[2], text[: match.start()].count("\n") + 2) for match in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    found = blocks(page)
    assert found
    for language, code, line in found:
        if language == "python":
            # Blank lines before the code make a traceback point at the line in the page.
            exec(compile("\n" * (line - 1) + code, str(DOCS / page), "exec"), names)
            continue
        for command in re.sub(r"\\\n\s*", "", code).splitlines():
            words = shlex.split(command.removeprefix("$ "), comments=True)
            if words[:1] == ["anomseg"]:
                assert run(words[1:]) == 0, f"{page}:{line}: {command}: {capsys.readouterr()}"


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (DOCS / target).exists(), target
