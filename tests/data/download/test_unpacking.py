"""Unpacking archives of others: whole or not at all, never outside, no links, no bombs."""

import io
import stat
import struct
import tarfile
import zipfile

import pytest
from archive_server import FILES, link, tarred, zipped

from anomseg.data.download import Limits, unpack
from anomseg.data.download.members import Refused, inside
from anomseg.errors import DataError

SMALL = Limits(ratio=10, least=100_000, files=5)
KINDS = {
    "zip": zipped,
    "tar": lambda *a, **o: tarred(*a, mode="w", **o),
    "gz": lambda *a, **o: tarred(*a, mode="w:gz", **o),
    "bz2": lambda *a, **o: tarred(*a, mode="w:bz2", **o),
    "xz": lambda *a, **o: tarred(*a, mode="w:xz", **o),
}


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(place, data: bytes, said: str, limits: Limits = SMALL) -> None:
    """It is refused in one line that names the archive, and nothing is left, not even beside the target."""
    archive = place.parent / "bad.archive"
    archive.write_bytes(data)
    with pytest.raises(DataError, match=said) as error:
        unpack(archive, place / "set", limits)
    assert "\n" not in str(error.value)
    assert "bad.archive" in str(error.value)
    assert list(place.iterdir()) == []
    assert not (place.parent / "escaped").exists()
    assert sorted(path.name for path in place.parent.iterdir()) == ["bad.archive", "out"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top", ["", "set/", "archive-1.0/set/"])
def test_the_content_is_the_folder_however_the_archive_begins(place, kind, top):
    archive = place.parent / "named-otherwise.bin"
    archive.write_bytes(KINDS[kind](FILES, top=top))
    assert unpack(archive, place / "set") == 3
    assert content(place / "set") == FILES
    assert [path.name for path in place.iterdir()] == ["set"]
    assert archive.exists()


def test_notes_beside_the_folder_come_along(place):
    files = {"set/images/a.png": b"a", "README.txt": b"read me", "set/LICENSE.txt": b"own", "LICENSE.txt": b"outer"}
    (place.parent / "a.zip").write_bytes(zipped(files))
    unpack(place.parent / "a.zip", place / "set")
    assert content(place / "set") == {"images/a.png": b"a", "README.txt": b"read me", "LICENSE.txt": b"own"}


def test_several_folders_stay_as_they_are(place):
    files = {"set/a.png": b"a", "other/b.png": b"b"}
    (place.parent / "a.zip").write_bytes(zipped(files))
    unpack(place.parent / "a.zip", place / "set")
    assert content(place / "set") == files


def test_what_is_there_is_not_touched(place):
    (place.parent / "a.zip").write_bytes(zipped())
    (place / "set").mkdir()
    assert unpack(place.parent / "a.zip", place / "set") == 3  # an empty folder may be taken
    (place / "set" / "LICENSE.txt").write_bytes(b"mine")
    with pytest.raises(DataError, match="is there already"):
        unpack(place.parent / "a.zip", place / "set")
    assert (place / "set" / "LICENSE.txt").read_bytes() == b"mine"


OUTSIDE = ["../escaped", "a/../../escaped", "/tmp/escaped", "..\\escaped", "\\escaped", "C:\\escaped", "C:/escaped"]


@pytest.mark.parametrize("kind", ["zip", "tar", "gz"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_paths_outside_the_target(place, kind, name):
    refused(place, KINDS[kind]({"a.png": b"a", name: b"b"}), "lies outside of the folder")


def test_a_folder_outside_is_refused_too(place):
    refused(place, zipped({"a.png": b"a", "../escaped/": b""}), "lies outside")
    folder = link("../escaped", tarfile.DIRTYPE)
    refused(place, tarred(FILES, "", "w:gz", folder), "lies outside")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar(place, kind):
    refused(place, tarred(FILES, "", "w:gz", link("images/b.png", kind)), "is a link")
    # Also those that point inside: what follows could be written through them.
    refused(place, tarred({}, "", "w:gz", link("images/b.png", kind, "a.png")), "is a link")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_in_a_tar(place, kind):
    refused(place, tarred(FILES, "", "w", link("images/b.png", kind)), "is a device")


def test_links_and_devices_in_a_zip(place):
    refused(place, zipped({"a.png": b"a", "b": b"/etc/passwd"}, b=(stat.S_IFLNK | 0o777) << 16), "'b' in it is a link")
    refused(place, zipped({"b": b""}, b=(stat.S_IFIFO | 0o777) << 16), "'b' in it is a device")


def test_modes_are_not_taken_over(place):
    (place.parent / "a.zip").write_bytes(zipped({"a.sh": b"a"}, a_sh=(stat.S_IFREG | stat.S_ISUID | 0o777) << 16))
    unpack(place.parent / "a.zip", place / "set")
    assert (place / "set" / "a.sh").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_bombs(place, kind):
    refused(place, KINDS[kind]({"a.png": b"a", "bomb": bytes(2_000_000)}), "unpacks to far more")


def test_a_bomb_that_lies_about_its_size(place):
    """The sizes in a zip's list say 10; what comes out is more."""
    data = bytearray(zipped({"bomb": bytes(2_000_000)}))
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    local = data.find(b"PK\x03\x04")
    data[local + 22 : local + 26] = struct.pack("<I", 10)
    refused(place, bytes(data), "damaged|far more")


def test_a_bomb_in_the_headers_of_a_tar(place):
    """A header of two million characters, before any file."""
    member = tarfile.TarInfo("a.png")
    member.pax_headers = {"comment": "x" * 2_000_000}
    refused(place, tarred({}, "", "w:gz", member), "far more")


def test_too_many_files_and_files_of_one_name(place):
    refused(place, zipped({str(number): b"" for number in range(6)}), "more than 5 files")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"2")
    refused(place, stream.getvalue(), "twice")
    refused(place, tarred({"a": b"1", "a/b": b"2"}), "a file and a folder would be one")
    refused(place, tarred({"a/b": b"1", "a": b"2"}), "a file and a folder would be one")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged archive or none"),
        (b"<html>not found</html>", "damaged archive or none"),
        (zipped()[:-30], "damaged archive or none"),
        (tarred()[:80], "damaged"),
        (zipped({}), "holds no file"),
    ],
    ids=["empty", "html", "zip", "tar", "nothing"],
)
def test_damaged_archives(place, data, said):
    refused(place, data, said)


def test_a_file_that_is_damaged_inside_leaves_nothing(place):
    data = bytearray(zipped({"a.png": b"good", "b.png": bytes(range(256)) * 4}))
    at = data.find(b"b.png") + 10
    data[at] ^= 255
    refused(place, bytes(data), "'b.png' in it is damaged")


def test_encrypted_files(place):
    data = bytearray(zipped({"a.png": b"a"}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(magic) + offset] |= 1
    refused(place, bytes(data), "is encrypted")


@pytest.mark.parametrize("name", ["", ".", "a\nb", "a" * 300, "./."])
def test_names_that_cannot_name_a_file(name):
    with pytest.raises(Refused, match="cannot name a file"):
        inside(name)


def test_a_missing_archive(tmp_path):
    with pytest.raises(DataError, match=r"no\.zip does not exist"):
        unpack(tmp_path / "no.zip", tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
