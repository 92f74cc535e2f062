"""`anomseg predict` on videos."""

import sys

import numpy as np
import pytest

from anomseg.cli.main import run

pytest.importorskip("av", reason="PyAV is not installed; pip install 'anomseg[video]'")


@pytest.fixture
def video(tmp_path):
    import av

    path = tmp_path / "drive.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for index in range(6):
            image = np.full((32, 48, 3), 40 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_video_and_one_that_is_none(video, network, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["--segmenter", str(network), "--detector", "energy", "--threshold", "-3", "--out", str(out)]
    assert run(["predict", str(video), *argv, "--smooth", "0.5"]) == 0
    assert "6 frames" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["drive_frames.csv", "drive_overlay.mp4", "drive_video.json"]
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    assert run(["predict", str(tmp_path / "bad.mp4"), str(video), *argv, "--quiet"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert [line for line in told.err.splitlines() if line.startswith("anomseg: skipped bad: ")]
    assert run(["predict", str(tmp_path / "bad.mp4"), *argv]) == 2


def test_another_network_than_the_fitted_one_is_told(video, network, tmp_path, capsys, monkeypatch):
    import anomseg.detectors as module

    monkeypatch.setattr(module, "segmenter_matches", lambda detector, segmenter: f"{type(detector).__name__}: other")
    argv = ["--segmenter", str(network), "--detector", "energy", "--out", str(tmp_path / "out"), "--quiet"]
    assert run(["predict", str(video), *argv]) == 0
    assert capsys.readouterr().err.count("Energy: other") == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["image.png"], "videos and images do not go in one command"),
        (["--smooth", "1"], "not in [0, 1)"),
        (["--task", "failure"], "videos go with --task anomaly"),
    ],
)
def test_options_that_do_not_go_together(video, tmp_path, capsys, more, told):
    assert run(["predict", str(video), *more, "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_smoothing_is_refused_for_images(dataset, capsys):
    assert run(["predict", str(dataset / "images"), "--smooth", "0.5"]) == 2
    assert "--smooth goes with videos" in capsys.readouterr().err


def test_without_pyav_one_line_says_what_to_install(video, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(["predict", str(video)]) == 2
    assert capsys.readouterr().err == (
        "anomseg: videos need PyAV, which is not installed: pip install 'anomseg[video]'\n"
    )
