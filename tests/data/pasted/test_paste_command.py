"""`anomseg data paste` from the command line: build, build again, refuse."""

import json

import pytest
from pasted_tree import camvid, coco

from anomseg.cli.main import run


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return camvid(folder / "camvid"), f"coco_panoptic={coco(folder / 'coco')}"


def test_paste_verify_and_paste_again(places, tmp_path, capsys):
    base, photos = places
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    paste = ["data", "paste", "camvid", "--root", str(base), "--objects", photos]
    chosen = ["--recipe", "wd_pascal", "--categories", "dog", "--inliers", "1", "--classes", "car", "--limit", "4"]
    assert run([*paste, *chosen, "--seed", "3", "--out", out]) == 0
    assert "4 frames of camvid test with 4 objects and 4 pasted inliers" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["options"]["seed"] == 3
    assert manifest["options"]["categories"] == ["dog"]
    assert manifest["negatives"]["half"] == "odd"
    assert run(["data", "verify", "pasted", "--root", out]) == 0
    assert run([*paste, "--manifest", out, "--out", again]) == 0
    for path in (tmp_path / "out").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()


def test_animals_can_be_left_out(places, tmp_path):
    base, photos = places
    rest = ["--recipe", "wd_pascal", "--categories", "no_animals", "--limit", "3", "--out", str(tmp_path / "out")]
    assert run(["data", "paste", "camvid", "--root", str(base), "--objects", photos, *rest]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {paste["category"] for frame in manifest["frames"] for paste in frame["pastes"]} == {"cup"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "--out DIR"),
        (["--out", "OUT"], "--objects KIND=DIR"),
        (["--out", "OUT", "--objects", "coco"], "--objects KIND=DIR"),
        (["--out", "OUT", "--objects", "coco_panoptc=x"], "coco_panoptic"),
        (["--out", "OUT", "--area", "small"], "--area"),
        (["--out", "OUT", "--recipe", "wd"], "wd_pascal"),
        (["--out", "OUT", "--manifest", "nowhere"], "manifest.json"),
    ],
)
def test_wrong_requests_are_told_in_one_line(places, tmp_path, capsys, options, told):
    given = [option.replace("OUT", str(tmp_path / "out")) for option in options]
    assert run(["data", "paste", "camvid", "--root", str(places[0]), *given]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
