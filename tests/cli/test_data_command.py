"""``anomseg data``: what it verifies it also tells the traps of; every action asks for what it needs, in one line."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
import trees

from anomseg.cli.main import run


def test_counts_of_both_definitions_are_printed(tmp_path, capsys):
    root = trees.bdd_anomaly(tmp_path)
    assert run(["data", "verify", "bdd_anomaly", "--root", str(root)]) == 2
    told = capsys.readouterr().out
    assert "train: 3 of 6688 frames" in told
    assert "test: 2 of 361 frames" in told
    assert "6688, 951, 361 with trains and motorcycles unknown" in told
    assert run(["data", "verify", "bdd_anomaly:anomalous=train,motorcycle,bicycle", "--root", str(root)]) == 2
    told = capsys.readouterr().out
    assert "test: 3 of 810 frames" in told
    assert "6280, 910, 810 with bicycles too" in told


def test_quiet_says_nothing_where_nothing_is_wrong(tmp_path, capsys):
    trees.folder(tmp_path)
    assert run(["data", "verify", "folder", "--root", str(tmp_path / "photos"), "--quiet"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("verify cityscapes", "give --root DIR"),
        ("download road_anomaly", "give --out DIR"),
        ("paste camvid --root nowhere", "give --out DIR"),
        ("fetch camvid", "unknown data action 'fetch'"),
    ],
)
def test_what_is_missing_is_told_in_one_line(capsys, words, said):
    assert run(["data", *words.split()]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.splitlines()) == 1
