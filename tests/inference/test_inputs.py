from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference_parts import write_pictures

from anomseg.data import decode_image
from anomseg.errors import DataError, FrameError
from anomseg.inference import expand_inputs
from anomseg.inference.inputs import natural_key, number_duplicates, safe_name, stem_of, unique_names


def test_a_folder_is_read_with_its_subfolders_in_natural_order(tmp_path):
    write_pictures(tmp_path / "in", ("f10", "f2", "f1"))
    write_pictures(tmp_path / "in" / "sub", ("g1",))
    write_pictures(tmp_path / "in" / ".thumbs", ("hidden",))
    (tmp_path / "in" / "notes.md").write_text("no image")
    (tmp_path / "in" / ".f3.png").write_bytes(b"resource fork")
    assert [file.name for file in expand_inputs([tmp_path / "in"])] == ["f1", "f2", "f10", "g1"]


def test_globs_lists_and_files_mix_and_nothing_is_taken_twice(tmp_path):
    paths = write_pictures(tmp_path / "in", ("x1", "x2", "y1"))
    listing = tmp_path / "list.txt"
    listing.write_text("# comment\n\nin/y1.png\nin/x*.png\n")
    assert [file.name for file in expand_inputs([f"@{listing}"])] == ["y1", "x1", "x2"]
    assert [file.name for file in expand_inputs([listing])] == ["y1", "x1", "x2"]
    assert [file.name for file in expand_inputs([paths[1], tmp_path / "in" / "x*.png", tmp_path / "in"])] == [
        "x2",
        "x1",
        "y1",
    ]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path):
    (path,) = write_pictures(tmp_path, ("frame[1]",))
    assert [file.path for file in expand_inputs([path])] == [path]


@pytest.mark.parametrize("given_as", ["missing.png", "missing/", "nothing*.png", "@missing.txt"])
def test_what_does_not_exist_is_named(tmp_path, given_as, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"missing|nothing"):
        expand_inputs([given_as])


def test_a_missing_line_of_a_list_is_kept_to_be_skipped_by_name(tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("gone.png\n")
    (item,) = expand_inputs([f"@{listing}"])
    assert item.name == "gone"
    with pytest.raises(FrameError, match=r"gone\.png"):
        decode_image(item.path)


def test_empty_things_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    for nothing in ([], [tmp_path / "empty"], [tmp_path / "empty.txt"]):
        with pytest.raises(DataError, match="no images"):
            expand_inputs(nothing)


def test_a_binary_list_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="one path a line"):
        expand_inputs([tmp_path / "list.txt"])


def test_results_in_the_folder_are_not_inputs(tmp_path):
    write_pictures(tmp_path, ("a",))
    write_pictures(tmp_path / "out", ("a_overlay", "stray"))
    assert [file.name for file in expand_inputs([tmp_path], exclude=tmp_path / "out")] == ["a"]
    # A result beside its sidecar is known as one wherever it lies; a picture that is merely called so is not.
    (tmp_path / "out" / "a.json").write_text("{}")
    write_pictures(tmp_path / "out", ("b_mask",))
    assert sorted(file.name for file in expand_inputs([tmp_path])) == ["a", "b_mask", "stray"]


def test_dots_in_names_are_kept():
    assert stem_of(Path("snowstorm1_00_16_02.578.webp")) == "snowstorm1_00_16_02.578"


def test_equal_stems_take_their_folders(tmp_path):
    write_pictures(tmp_path / "one" / "images", ("1",))
    write_pictures(tmp_path / "two" / "images", ("1", "2"))
    names = [file.name for file in expand_inputs([tmp_path])]
    assert names == ["one__images__1", "two__images__1", "2"]


@given(
    st.lists(st.sampled_from(["a/1.png", "b/1.png", "a/1.jpg", "A/1.PNG", "1-2.png", "1.png", "c/1-2.png", "a__1.png"]))
)
def test_names_never_meet(paths):
    names = unique_names([Path(path) for path in paths])
    assert len({name.casefold() for name in names}) == len(paths)


@given(st.lists(st.sampled_from(["x", "X", "x-2", "x-2-2", "y"])))
def test_numbering_never_meets(names):
    numbered = number_duplicates(names)
    assert len({name.casefold() for name in numbered}) == len(names)


@given(st.text())
def test_safe_names_stay_in_their_folder(text):
    name = safe_name(text)
    assert name
    assert not name.startswith(".")
    assert not set(name) & set("/\\\x00\n")


def test_natural_order():
    paths = [Path(name) for name in ("f10.png", "f9.png", "F1.png", "a/2", "a/10")]
    assert [str(path) for path in sorted(paths, key=natural_key)] == ["a/2", "a/10", "F1.png", "f9.png", "f10.png"]


def test_results_may_go_into_or_above_the_folder_that_is_named(tmp_path, monkeypatch):
    write_pictures(tmp_path / "photos", ("a", "a_overlay"))
    (tmp_path / "photos" / "a.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for named in ("photos", "photos/*.png", str(tmp_path / "photos" / "*.png")):
        for out in ("photos", "."):
            assert [file.name for file in expand_inputs([named], exclude=out)] == ["a"]


def test_an_empty_name_is_not_this_folder(tmp_path, monkeypatch):
    write_pictures(tmp_path, ("a",))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="an input is empty"):
        expand_inputs([""])
