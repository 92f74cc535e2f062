import errno
import os

import pytest

from anomseg.errors import DataError
from anomseg.files import atomic_write, read_json, sha256_of_file, write_json, write_text


def test_content_appears_whole_and_makes_folders(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "héllo")
    assert (tmp_path / "a" / "b.txt").read_text("utf-8") == "héllo"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
def test_a_failure_in_the_block_leaves_what_was_there(tmp_path, error):
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")

    def fail_half_way():
        with atomic_write(target) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device; free some space"):
        write_text(tmp_path / "x", "text")
    assert not list(tmp_path.iterdir())


def test_json_refuses_nan_before_touching_the_target(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1}


def test_unreadable_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match=r"a\.json cannot be read as JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DataError, match="does not exist"):
        read_json(tmp_path / "b.json")


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
