"""Downloads from a server on this machine: resumed, checked, told by hand."""

import dataclasses
import os

import pytest
from archive_server import FILES, ArchiveServer, md5, tarred, zipped

from anomseg.cli.main import run
from anomseg.data import DATASETS, dataset_spec
from anomseg.data.archive import Archive
from anomseg.data.download import download, fetch
from anomseg.errors import ConfigError, DataError

BODY = zipped({"set/big.bin": os.urandom(300_000), **FILES})
NAME = "/files/a.zip"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with ArchiveServer({NAME: BODY}) as running:
        yield running


def archive(server, checksum: str | None = None) -> Archive:
    return Archive(f"{server.address}{NAME}?download=1", "set", md5(BODY) if checksum is None else checksum)


def get(one: Archive, folder, **options):
    return fetch(one, folder, wait=0.0, **options)


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_download_with_progress(server, tmp_path):
    seen = []
    path = get(archive(server), tmp_path, on_progress=lambda *told: seen.append(told))
    assert path == tmp_path / "a.zip"
    assert path.read_bytes() == BODY
    assert left(tmp_path) == ["a.zip"]
    assert seen == [(1, 1, "a.zip")]
    # What is there and right is not fetched again.
    get(archive(server), tmp_path)
    assert server.asked == [(NAME, None)]


def test_progress_counts_mebibytes_and_ends_once(server, tmp_path):
    server.content[NAME] = body = bytes((5 << 20) + 7)
    seen = []
    get(archive(server, md5(body)), tmp_path, on_progress=lambda *told: seen.append(told))
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in seen} == {6}


def test_it_goes_on_within_one_call_when_the_connection_breaks(server, tmp_path):
    server.cuts = [100_000, 50_000]
    assert get(archive(server), tmp_path).read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_it_goes_on_in_a_later_call(server, tmp_path):
    server.cuts = [120_000, 0]
    with pytest.raises(DataError, match="120000 bytes are kept, run the same command again to go on") as error:
        get(archive(server), tmp_path, attempts=1)
    assert "\n" not in str(error.value)
    assert "a.zip.part" in left(tmp_path)
    server.asked.clear()
    assert get(archive(server), tmp_path).read_bytes() == BODY
    assert server.asked == [(NAME, "bytes=120000-")]
    assert left(tmp_path) == ["a.zip"]


def test_an_interrupt_keeps_what_came(server, tmp_path):
    def stop(done, total, text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(archive(server), tmp_path, on_progress=stop)
    assert (tmp_path / "a.zip.part").stat().st_size > 0
    assert get(archive(server), tmp_path).read_bytes() == BODY
    assert server.asked[-1][1] is not None


def test_a_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(BODY)
    assert get(archive(server), tmp_path).read_bytes() == BODY
    assert server.asked == [(NAME, f"bytes={len(BODY)}-")]


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(BODY + b"more")
    assert get(archive(server), tmp_path).read_bytes() == BODY


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert get(archive(server), tmp_path).read_bytes() == BODY


def test_without_a_checksum_pieces_of_two_versions_are_never_joined(server, tmp_path):
    unchecked = archive(server, "")
    server.cuts = [100_000, 0]
    with pytest.raises(DataError, match="broke off"):
        get(unchecked, tmp_path, attempts=1)
    server.content[NAME], server.etag = b"other" + BODY, '"two"'
    assert get(unchecked, tmp_path).read_bytes() == b"other" + BODY
    # Where the server tells no version at all, it begins anew.
    (tmp_path / "a.zip").unlink()
    (tmp_path / "a.zip.part").write_bytes(b"what")
    server.etag = ""
    assert get(unchecked, tmp_path).read_bytes() == b"other" + BODY
    assert server.asked[-1] == (NAME, None)


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    server.cuts = [100_000]
    with pytest.raises(DataError, match="another checksum than the published 0000") as error:
        get(archive(server, "0" * 32), tmp_path)
    assert "\n" not in str(error.value)
    assert left(tmp_path) == []
    # A file that is there but wrong is fetched anew.
    (tmp_path / "a.zip").write_bytes(b"damaged")
    assert get(archive(server), tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("status", [403, 404, 410])
def test_addresses_that_have_nothing(server, tmp_path, status):
    server.status[NAME] = status
    with pytest.raises(DataError, match=f"answers {status} .*; the address may have moved"):
        get(archive(server), tmp_path)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again_then_told(server, tmp_path):
    server.status[NAME] = 503
    with pytest.raises(DataError, match=r"503.*nothing came"):
        get(archive(server), tmp_path, attempts=3)
    assert len(server.asked) == 3


def test_nobody_there(tmp_path):
    with pytest.raises(DataError, match="broke off"):
        get(Archive("http://127.0.0.1:9/a.zip", "set"), tmp_path, attempts=1)


def test_a_disk_that_is_too_small(server, tmp_path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"needs 1 MiB, .* has 0 MiB left"):
        get(archive(server), tmp_path)


# ------------------------------------------------------------------------------------------- whole data sets


TRACK = {f"images/validation{i:04d}.jpg": b"\xff\xd8\xff" for i in range(2)} | {
    f"labels_masks/validation{i:04d}_labels_semantic.png": b"\x89PNG\r\n\x1a\n" for i in range(2)
}


@pytest.fixture
def spec(server):
    """The anomaly track, at addresses of the server's: a zip with and a tar without a folder of its own."""
    bodies = {"/one.zip": zipped(TRACK, top="dataset_AnomalyTrack/"), "/two.tar.gz": tarred(FILES)}
    server.content.update(bodies)
    archives = (
        Archive(f"{server.address}/one.zip", "dataset_AnomalyTrack", md5(bodies["/one.zip"])),
        Archive(f"{server.address}/two.tar.gz", "more"),
    )
    return dataclasses.replace(dataset_spec("road_anomaly_21"), archives=archives)


def test_a_data_set_can_be_read_where_it_was_downloaded_to(spec, server, tmp_path):
    from anomseg.data import load_frames

    got = download(spec, tmp_path / "out", wait=0.0)
    assert (got.fetched, got.present, got.by_hand) == (("dataset_AnomalyTrack", "more"), (), "")
    assert [name for name, _ in got.unchecked] == ["two.tar.gz"]
    assert left(tmp_path / "out") == ["dataset_AnomalyTrack", "more"]
    assert len(load_frames(spec, tmp_path / "out")) == 2
    server.asked.clear()
    again = download(spec, tmp_path / "out")
    assert (again.fetched, again.present) == ((), ("dataset_AnomalyTrack", "more"))
    assert server.asked == []


def test_what_was_fetched_by_hand_is_not_asked_for_again(spec, server, tmp_path):
    halves = dataclasses.replace(
        spec, splits=spec.splits[:1], archives=spec.archives[:1], by_hand="put LABELS.png there", roi="LABELS.png"
    )
    assert download(halves, tmp_path, wait=0.0).by_hand == "put LABELS.png there"
    (tmp_path / "LABELS.png").write_bytes(b"")
    assert download(halves, tmp_path).by_hand == ""


def test_a_bad_archive_leaves_the_others_whole(spec, server, tmp_path):
    server.content["/two.tar.gz"] = tarred({"../escaped": b"x"})
    with pytest.raises(DataError, match="lies outside"):
        download(spec, tmp_path / "out", wait=0.0)
    assert left(tmp_path / "out") == [".archives", "dataset_AnomalyTrack"]
    assert not (tmp_path / "escaped").exists()
    # Once the source is mended, the same call goes on with what is missing.
    server.content["/two.tar.gz"] = tarred(FILES)
    (tmp_path / "out" / ".archives" / "two.tar.gz").unlink()
    assert download(spec, tmp_path / "out", wait=0.0).fetched == ("more",)


def test_versions_are_chosen_by_layout_and_archives_may_be_kept(spec, server, tmp_path):
    versions = tuple(
        dataclasses.replace(one, layout=name)
        for one, name in zip(spec.archives, ("official", "repackaged"), strict=True)
    )
    chosen = dataclasses.replace(spec, archives=versions)
    assert download(chosen, tmp_path, "repackaged", keep=True).fetched == ("more",)
    assert left(tmp_path / ".archives") == ["two.tar.gz"]
    with pytest.raises(ConfigError, match="did you mean 'official'"):
        download(chosen, tmp_path, "oficial")


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name != "folder"])
def test_every_data_set_says_where_it_is(name):
    declared = dataset_spec(name)
    assert declared.archives or declared.by_hand
    for one in declared.archives:
        assert one.name.endswith((".zip", ".tar", ".tar.gz"))
        assert one.into
        assert one.md5 == "" or (len(one.md5) == 32 and int(one.md5, 16) >= 0)
        if one.layout:
            assert declared.layout(one.layout)
    assert "\n" not in declared.by_hand


def test_declared_checksums_are_the_published_ones():
    published = {
        "road_anomaly": {"87a0908e5c72827824693913cf2e4fb0"},
        "road_anomaly_21": {"231bf79ed58924bcd33d9cbe22e61076"},
        "road_obstacle_21": {"895fb36d18765482cc291f69e63d6da6"},
        "fishyscapes_lost_and_found": {"0d3bf7c0ec38bd50b84f3d8aaa4b2e26"},
        "fishyscapes_static": {
            "79fb134419c83f2f20b575955efa9d20", "5088c63497927200d935c41d54b1cb23", "0dc11db9e57088c5bb18de4c55a53f3a",
        },
        "street_hazards": {"cd2d1a8649848afb85b5059d227d2090", "8c547c1346b00c21b2483887110bfea7"},
        "lost_and_found": {"08eaa79ce05126f6bd22a3ca563746d0", ""},
    }  # fmt: skip
    assert {name: {one.md5 for one in dataset_spec(name).archives} for name in published} == published


def test_the_command(spec, server, tmp_path, monkeypatch, capsys):
    import anomseg.data.download.get as module

    specs = {
        "road_anomaly_21": spec,
        "fishyscapes_static": dataclasses.replace(spec, by_hand="its images are elsewhere"),
    }
    monkeypatch.setattr(module, "dataset_spec", lambda name: specs.get(name) or dataset_spec(name))
    out = str(tmp_path / "out")
    assert run(["data", "download", "road_anomaly_21", "--out", out]) == 0
    told = capsys.readouterr()
    assert "dataset_AnomalyTrack fetched and unpacked" in told.out
    assert run(["data", "download", "road_anomaly_21", "--root", out]) == 0
    assert "dataset_AnomalyTrack is there already" in capsys.readouterr().out
    assert "anomseg data verify road_anomaly_21 --root" in told.out
    assert "no checksum is published for two.tar.gz; its SHA-256 is" in told.err
    assert run(["data", "download", "fishyscapes_static", "--out", out, "--quiet"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "fishyscapes_static is not whole yet: its images are elsewhere" in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cityscapes --out OUT", "register at https://www.cityscapes-dataset.com/"),
        ("vistas_np --out OUT", "training/, validation/ and config.json"),
        ("folder --out OUT", "folder is nothing to download"),
        ("cityscapes", "give --out DIR"),
        ("cityscape --out OUT", "did you mean 'cityscapes'"),
    ],
)
def test_what_cannot_be_downloaded_is_told_in_one_line(tmp_path, capsys, words, said):
    assert run(["data", "download", *words.replace("OUT", str(tmp_path / "out")).split()]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
