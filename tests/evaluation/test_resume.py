"""Interrupted runs go on where they stopped and end with the figures of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.data.loaders import ImageLoader
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.evaluation import DetectorState, evaluate
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.metrics import PerImage

DETECTORS = ["msp", "chance"]
TIMES = ("seconds", "frames_per_second")


def timeless(cards):
    return [{key: value for key, value in card.items() if key not in TIMES} for card in cards]


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "data")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Cards of an undisturbed run on the same pixels."""
    data = write_tree(tmp_path_factory.mktemp("data"))
    return evaluate(BENCHMARK, data, TinySegmenter(), DETECTORS)


SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
from small_run import BENCHMARK, TinySegmenter
from anomseg.evaluation import evaluate

def slow(done, total, text):
    print(done, flush=True)
    time.sleep(0.25)

evaluate(BENCHMARK, {tree!r}, TinySegmenter(), {detectors!r}, {out!r}, checkpoint_seconds=0.0, on_progress=slow)
"""


def test_killed_process_resumes_with_the_same_figures(whole, tree, tmp_path):
    out = tmp_path / "out"
    script = SCRIPT.format(here=str(Path(__file__).parent), tree=str(tree), detectors=DETECTORS, out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "3":
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    counted = len(DetectorState.load(out / "msp").frames)
    assert 0 < counted < COUNT
    assert not (out / "msp" / "metrics.json").exists()
    network = TinySegmenter()
    resumed = evaluate(BENCHMARK, tree, network, DETECTORS, out)
    assert network.calls == COUNT - counted
    assert timeless(resumed) == timeless(whole)


@pytest.mark.parametrize("stop_at", [1, COUNT])
def test_interrupt_keeps_what_was_counted(whole, tree, tmp_path, stop_at):
    out = tmp_path / "out"

    def interrupt(done, total, text):
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out, on_progress=interrupt)
    assert len(DetectorState.load(out / "msp").frames) == stop_at
    network = TinySegmenter()
    assert timeless(evaluate(BENCHMARK, tree, network, DETECTORS, out)) == timeless(whole)
    assert network.calls == COUNT - stop_at


def test_state_interrupted_in_the_middle_of_a_frame_is_not_saved(whole, tree, tmp_path, monkeypatch):
    out, calls = tmp_path / "out", []
    original = PerImage.add

    def add(self, counts, frame, group=""):
        calls.append(frame)
        if len(calls) == 6:
            raise KeyboardInterrupt
        original(self, counts, frame, group)

    with monkeypatch.context() as patch:
        patch.setattr(PerImage, "add", add)
        with pytest.raises(KeyboardInterrupt):
            evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out)
    assert timeless(evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out)) == timeless(whole)


def test_finished_run_is_repeated_without_work(tree, tmp_path):
    out = tmp_path / "out"
    first = evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out)
    network = TinySegmenter()
    again = evaluate(BENCHMARK, tree, network, DETECTORS, out)
    assert network.calls == 0
    assert again == first


def test_maps_wanted_afterwards_are_written(tree, tmp_path):
    out = tmp_path / "out"
    first = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    again = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out, keep_maps=True)
    assert timeless(again) == timeless(first)
    assert len(list((out / "msp" / "maps").glob("*.npy"))) == COUNT


def test_deleted_map_is_written_again(whole, tree, tmp_path):
    out = tmp_path / "out"

    def interrupt(done, total, text):
        if text.startswith("components"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out, on_progress=interrupt)
    (out / "msp" / "maps" / "2.npy").unlink()
    (out / "labels" / "4.npz").unlink()
    network = TinySegmenter()
    assert timeless(evaluate(BENCHMARK, tree, network, DETECTORS, out)) == timeless(whole)
    assert network.calls == 2


def test_frame_that_failed_is_tried_again(whole, tree, tmp_path, monkeypatch):
    out = tmp_path / "out"
    original = ImageLoader.__call__

    def broken(self):
        if self.path.stem == "3":
            raise FrameError("3: cannot be read at the moment")
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(ImageLoader, "__call__", broken)
        card = evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out)[0]
    assert card["skipped"] == [{"frame": "3", "reason": "3: cannot be read at the moment"}]
    assert card["frames"] == COUNT - 1
    assert timeless(evaluate(BENCHMARK, tree, TinySegmenter(), DETECTORS, out)) == timeless(whole)


def test_another_run_is_refused_and_nothing_is_lost(tree, tmp_path):
    out = tmp_path / "out"
    evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for change, word in (
        ({"detectors": ["max_logit"]}, "detectors"),
        ({"segmenter": TinySegmenter(1)}, "segmenter"),
        ({"seed": 1}, "seed"),
        ({"limit": 3}, "frames"),
        ({"size": (16, 16)}, "size"),
        ({"protocol": "caos"}, "protocol"),
    ):
        options = {"segmenter": TinySegmenter(), "detectors": ["msp"], **change}
        with pytest.raises(ConfigError, match=rf"another run \(.*{word}.*--overwrite.*another --out"):
            evaluate(BENCHMARK, tree, out=out, **options)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_overwrite_replaces_the_run_and_nothing_else(tree, tmp_path):
    out = tmp_path / "out"
    evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    (out / "notes.txt").write_text("mine")
    evaluate(BENCHMARK, tree, TinySegmenter(), ["energy"], out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["energy", "notes.txt", "run.json"]


def test_changed_label_makes_another_run(tree, tmp_path):
    out = tmp_path / "out"
    evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    other = write_tree(tmp_path / "other", seed=3)
    (tree / "labels_masks" / "1.png").write_bytes((other / "labels_masks" / "1.png").read_bytes())
    with pytest.raises(ConfigError, match=r"another run \(frames differ\)"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)


def test_folder_that_belongs_to_no_run_is_not_touched(tree, tmp_path):
    (tmp_path / "out" / "msp").mkdir(parents=True)
    (tmp_path / "out" / "msp" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="belongs to no run"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "msp" / "thesis.txt").read_text() == "mine"


def test_damaged_run_file_names_the_mend(tree, tmp_path):
    out = tmp_path / "out"
    evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    record = json.loads((out / "run.json").read_text())
    record["folders"] = ["../data"]
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="damaged"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    assert tree.is_dir()


def test_checkpoint_is_never_a_mix(tmp_path):
    """A writer that dies between the parts leaves the version before."""
    checkpoint = Checkpoint(tmp_path)

    def part(value):
        return lambda path: np.savez(path, value=value)

    def die(path):
        raise DataError("disk full")

    checkpoint.write({"n": 1}, {"a": part(1), "b": part(1)})
    with pytest.raises(DataError):
        checkpoint.write({"n": 2}, {"a": part(2), "b": die})
    meta, paths = checkpoint.read()
    assert meta == {"n": 1}
    assert [int(np.load(paths[name])["value"]) for name in "ab"] == [1, 1]
    checkpoint.write({"n": 3}, {"a": part(3), "b": part(9)}, unchanged=["b"])
    meta, paths = checkpoint.read()
    assert [int(np.load(paths[name])["value"]) for name in "ab"] == [3, 1]
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_full_disk_is_one_error_and_earlier_results_stay(tree, tmp_path, monkeypatch):
    out = tmp_path / "out"
    evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    before = (out / "msp" / "metrics.json").read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anomseg.files.os.replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out)
    assert (out / "msp" / "metrics.json").read_bytes() == before
    assert not list(out.rglob("*.part"))
