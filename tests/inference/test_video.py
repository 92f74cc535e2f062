"""Videos: what is written, in how much memory, and what is kept of those that break."""

import csv
import gc
import json
import sys
import weakref

import numpy as np
import pytest
from inference_parts import BoundedDarkness, BrightnessSegmenter, Darkness, NotANumber
from scipy import ndimage
from video_parts import HEIGHT, RATE, WIDTH, brightness, jpeg, pictures, read_video, write_packets, write_video

from anomseg.errors import ConfigError, DataError
from anomseg.inference import predict, video_reading
from anomseg.inference.video import Smoothing, predict_video
from anomseg.inference.video_reading import VideoReader, is_video, require_av
from anomseg.inference.video_table import read_frame_table
from anomseg.inference.video_writing import VideoWriter

pytest.importorskip("av", reason="PyAV is not installed; pip install 'anomseg[video]'")


def scored(path, out, detector=None, **options):
    return predict_video(path, BrightnessSegmenter(), detector or BoundedDarkness(), out, **options)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_every_frame_is_overlaid_and_told(tmp_path, codec):
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = write_video(tmp_path / "drive.mp4", pictures(), codec)
    seen = []
    summary = scored(path, tmp_path / "out", threshold=0.2, on_progress=lambda done, total: seen.append((done, total)))
    assert (summary.frames, summary.stopped, summary.resized) == (10, "", None)
    assert seen == [(done, 10) for done in range(1, 11)]
    assert left(tmp_path / "out") == ["drive_frames.csv", "drive_overlay.mp4", "drive_video.json"]
    shown = read_video(summary.overlay)
    assert [image.shape for image in shown] == [(HEIGHT, WIDTH, 3)] * 10
    rows = read_frame_table(summary.table)
    assert [row.frame for row in rows] == list(range(10))
    assert [row.time for row in rows] == pytest.approx([index / RATE for index in range(10)], abs=1e-3)


def test_figures_are_those_of_the_maps(tmp_path):
    path = write_video(tmp_path / "drive.mp4", pictures(4))
    rows = read_frame_table(scored(path, tmp_path, threshold=0.15).table)
    for row, image in zip(rows, read_video(path), strict=True):
        scores = predict(image, BrightnessSegmenter(), BoundedDarkness()).anomaly_map
        mask = scores >= 0.15
        assert row.max_score == pytest.approx(scores.max(), abs=1e-6)
        assert row.mean_score == pytest.approx(scores.mean(), abs=1e-6)
        assert row.share == pytest.approx(mask.mean(), abs=1e-6)
        assert row.components == ndimage.label(mask, np.ones((3, 3)))[1]


def test_without_a_threshold_nothing_is_counted(tmp_path):
    summary = scored(write_video(tmp_path / "a.mp4", pictures(2)), tmp_path)
    with summary.table.open() as stream:
        assert [(row["share"], row["components"]) for row in csv.DictReader(stream)] == [("", "")] * 2
    assert json.loads((tmp_path / "a_video.json").read_text())["output"]["threshold"] is None


def test_smoothing_weighs_the_past(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(6))
    plain = [row.mean_score for row in read_frame_table(scored(path, tmp_path / "plain").table)]
    smooth = [row.mean_score for row in read_frame_table(scored(path, tmp_path / "smooth", smooth=0.8).table)]
    expected = [plain[0]]
    for value in plain[1:]:
        expected.append(0.8 * expected[-1] + 0.2 * value)
    assert smooth == pytest.approx(expected, abs=1e-5)
    assert smooth != pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize("weight", [-0.1, 1.0, float("nan")])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ConfigError, match=r"not in \[0, 1\)"):
        Smoothing(weight)


def test_memory_does_not_grow_with_the_video(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", pictures(40))
    live, most, upright = weakref.WeakSet(), [0], video_reading._upright

    class Counted(np.ndarray):
        """An array that can be counted while anybody holds it."""

        __hash__ = object.__hash__

    def counted(frame):
        image = upright(frame).view(Counted)
        live.add(image)
        most[0] = max(most[0], len(live))
        return image

    monkeypatch.setattr(video_reading, "_upright", counted)
    gc.disable()  # frames have to go by themselves
    try:
        assert scored(path, tmp_path, smooth=0.5).frames == 40
    finally:
        gc.enable()
    assert most[0] <= 6


def test_a_frame_that_cannot_be_decoded_ends_it_with_what_was_done(tmp_path):
    frames = pictures(10)
    path = write_packets(tmp_path / "a.mkv", [*frames[:6], b"no picture at all", *frames[7:]])
    summary = scored(path, tmp_path, threshold=0.2)
    assert summary.frames == 6
    assert "frame 6 cannot be decoded" in summary.stopped
    assert "\n" not in summary.stopped
    assert len(read_video(summary.overlay)) == len(read_frame_table(summary.table)) == 6
    assert "frame 6" in json.loads((tmp_path / "a_video.json").read_text())["output"]["stopped"]
    assert not [name for name in left(tmp_path) if "part" in name]


def test_a_broken_tail_is_noticed(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(10)]
    path = write_video(tmp_path / "a.mp4", frames, movflags="faststart")
    whole = path.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    path.write_bytes(whole[: int(len(whole) * 0.7)])
    summary = scored(path, tmp_path)
    assert 0 < summary.frames < 10
    assert summary.stopped
    assert len(read_video(summary.overlay)) == summary.frames


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_an_end_that_was_trimmed_off_is_no_broken_tail(tmp_path, codec):
    """Telephones trim by the edit list alone: the frames behind it stay in the file and are not played."""
    import struct

    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = write_video(tmp_path / "a.mp4", pictures(60), codec, gop=5)
    content = bytearray(path.read_bytes())
    # After the name: version and flags, the number of edits, and the duration of the first.
    place = content.index(b"elst") + 12
    (duration,) = struct.unpack(">I", content[place : place + 4])
    content[place : place + 4] = struct.pack(">I", duration // 3)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert reader.declared == 60
        assert len(list(reader)) == 20


def test_without_its_index_nothing_can_be_read(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures())
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match=r"cannot be read as a video|cut short"):
        scored(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_of_another_size_are_brought_to_the_first(tmp_path):
    path = write_packets(tmp_path / "a.mkv", [*pictures(3), *pictures(3, 40, 60)])
    summary = scored(path, tmp_path)
    assert (summary.frames, summary.size, summary.resized, summary.stopped) == (6, (HEIGHT, WIDTH), 3, "")
    assert {image.shape for image in read_video(summary.overlay)} == {(HEIGHT, WIDTH, 3)}


def test_odd_sides_are_padded_in_the_overlay_alone(tmp_path):
    path = write_packets(tmp_path / "a.mkv", pictures(3, 31, 47))
    summary = scored(path, tmp_path)
    assert summary.size == (31, 47)
    assert read_video(summary.overlay)[0].shape == (32, 48, 3)


def test_a_video_without_frames_leaves_nothing(tmp_path):
    import av

    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        container.start_encoding()
    with pytest.raises(DataError, match="no frame"):
        scored(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sound_alone_is_no_video(tmp_path):
    import wave

    with wave.open(str(tmp_path / "a.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(1600))
    with pytest.raises(DataError, match="no pictures"):
        VideoReader(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(DataError, match="cannot be read as a video"):
        VideoReader(tmp_path / "b.mp4")
    with pytest.raises(DataError, match="does not exist"):
        VideoReader(tmp_path / "c.mp4")


def test_scores_that_cannot_be_used_end_it(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(6))
    summary = scored(path, tmp_path, NotANumber(("a-000003",)))
    assert summary.frames == 3
    assert "NaN" in summary.stopped
    with pytest.raises(DataError, match="NaN"):
        scored(path, tmp_path / "out", NotANumber())


def test_an_interruption_keeps_what_was_done(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(10))

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(path, tmp_path / "out", on_progress=stop)
    assert left(tmp_path / "out") == ["a_frames.csv", "a_overlay.mp4"]
    assert len(read_video(tmp_path / "out" / "a_overlay.mp4")) == 4
    assert len(read_frame_table(tmp_path / "out" / "a_frames.csv")) == 4


def test_colours_settle_on_the_widest_range(tmp_path):
    path = write_video(tmp_path / "a.mp4", pictures(5))
    summary = scored(path, tmp_path, Darkness())
    lows = [predict(image, BrightnessSegmenter(), Darkness()).range()[0] for image in read_video(path)]
    assert summary.range[0] == pytest.approx(min(lows), abs=1e-4)
    assert scored(path, tmp_path, Darkness(), range=(-1.0, 2.0)).range == (-1.0, 2.0)
    assert scored(path, tmp_path).range == (0.0, 1.0)


def test_a_region_confines_figures(tmp_path):
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[:, WIDTH // 2 :] = 1
    path = write_video(tmp_path / "a.mp4", pictures(2))
    row = read_frame_table(scored(path, tmp_path, threshold=0.0, roi=inside).table)[0]
    assert row.share == 1.0
    image = read_video(path)[0]
    scores = predict(image, BrightnessSegmenter(), BoundedDarkness()).anomaly_map[:, WIDTH // 2 :]
    assert row.mean_score == pytest.approx(scores.mean(), abs=1e-6)


def test_times_survive_an_uneven_rate(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", 10)
    times = [0.0, 0.1, 0.5, 0.5, 0.9]
    with writer:
        for image, seconds in zip(pictures(5), times, strict=True):
            writer.add(image, seconds)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert [frame.seconds for frame in reader] == pytest.approx(times, abs=1e-3)


def test_frames_come_as_they_were(tmp_path):
    path = write_packets(tmp_path / "a.avi", pictures(4))
    with VideoReader(path) as reader:
        for frame in reader:
            assert frame.image.dtype == np.uint8
            assert frame.image[-1, -1] == pytest.approx(brightness(frame.index, 4), abs=4)
    assert len(jpeg(pictures(1)[0])) > 100


def test_frames_are_turned_as_the_telephone_was_held(tmp_path):
    """The track's matrix asks for a quarter turn with the clock: the dark corner goes from the left to the right."""
    import struct

    path = write_video(tmp_path / "a.mp4", pictures(2))
    content = bytearray(path.read_bytes())
    # After the name: version, times, number, duration, layer and volume, forty bytes, and then the matrix.
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        image = next(iter(reader)).image
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert (image[1, -2].max() < 10, image[1, 1].min() > 10) == (True, True)


def test_nothing_is_written_into_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        scored(write_video(tmp_path / "a.mp4", pictures(2)), tmp_path / "out")


def test_missing_pyav_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'anomseg\[video\]'"):
        require_av()


def test_videos_are_known_by_their_suffix():
    assert is_video("A.MOV")
    assert not is_video("folder")
