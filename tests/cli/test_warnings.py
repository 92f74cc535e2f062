"""Warnings on the command line: ours in one line, those of libraries not at all."""

import warnings

import pytest
import torch

from anomseg.cli import profile
from anomseg.cli.main import run


def test_ours_are_one_line(network, dataset, tmp_path, capsys, monkeypatch):
    def broken(*_: object) -> object:
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr(torch, "compile", lambda function: broken)
    asked = ["predict", str(dataset / "images"), "--segmenter", str(network), "--compile", "--out", str(tmp_path / "o")]
    assert run([*asked, "--quiet"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "anomseg: pyramid runs uncompiled, because torch.compile failed: RuntimeError: no compiler found"
    ]


@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning])
def test_those_of_libraries_are_not_shown(capsys, monkeypatch, category):
    monkeypatch.setattr(profile, "run", lambda options: warnings.warn("old", category, stacklevel=1) or 0)
    shown = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(["profile"]) == 0
    assert capsys.readouterr().err == ""
    assert warnings.showwarning is shown
