"""Shards counted by other processes, merged here, equal one run bit for bit."""

import subprocess
import sys

import numpy as np

from anomseg.metrics import ComponentScore, OpenSetIoU, PerImage, PixelCurve, SegmentationIoU, bootstrap_intervals

PROGRAM = """
import sys
import numpy as np
from anomseg.metrics import ComponentScore, OpenSetIoU, PerImage, PixelCurve, SegmentationIoU

def frame(index):
    rng = np.random.default_rng(index)
    label = np.zeros((40, 50), np.uint8)
    label[5:15, 5:20] = index % 4 > 0
    label[:, 30:32] = 255
    score = (rng.normal(size=label.shape) + 2 * (label == 1)).astype(np.float32)
    return score, label, rng.integers(0, 3, label.shape)

def count(indices):
    states = [PixelCurve(), PerImage(), ComponentScore(5, 5, threshold=1.0), SegmentationIoU(3), OpenSetIoU(3, 1.0)]
    pixel, per_image, component, segmentation, openset = states
    for index in indices:
        score, label, classes = frame(index)
        name = f"f{index}"
        pixel.update(score, label, name)
        per_image.update(score, label, name, group=f"g{index % 3}")
        component.update(score, label, name)
        segmentation.update(classes, np.where(label == 255, 255, np.roll(classes, 1)), name)
        openset.update(classes, score, np.where(label == 1, 3, np.where(label == 255, 255, classes)), name)
    return states

if __name__ == "__main__":
    shard, shards, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for state in count(range(shard, 9, shards)):
        state.save(f"{folder}/{type(state).__name__}-{shard}.npz")
"""


def test_two_processes_equal_one(tmp_path):
    program = tmp_path / "shard.py"
    program.write_text(PROGRAM)
    workers = [subprocess.Popen([sys.executable, str(program), str(shard), "2", str(tmp_path)]) for shard in range(2)]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    scope: dict = {"__name__": "shard"}
    exec(compile(PROGRAM, "shard.py", "exec"), scope)
    whole = scope["count"](range(9))
    for state, kind in zip(whole, (PixelCurve, PerImage, ComponentScore, SegmentationIoU, OpenSetIoU), strict=True):
        parts = [kind.load(tmp_path / f"{kind.__name__}-{shard}.npz") for shard in (1, 0)]
        merged = parts[0].merge(parts[1])
        np.testing.assert_equal(vars(merged.compute()), vars(state.compute()))
        assert merged.frames == state.frames
        assert merged.missing(["f0", "f99"]) == ["f99"]
        if kind is PerImage:
            assert merged.rows() == state.rows()
            assert bootstrap_intervals(merged, samples=50) == bootstrap_intervals(state, samples=50)
