"""Time the bundled network with energy in PyTorch against its exported graph under ONNX Runtime, as a ratio.

    python benchmarks/export.py [--size 384x768] [--rounds 9]

Both sides see the same picture in turns within one run, on as many threads; the export itself checks that they agree.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from anomseg.cli.arguments import parse_size
from anomseg.detectors import create_detector
from anomseg.export import export_onnx
from anomseg.export.parity import library_answer, random_pictures
from anomseg.segmenters import load_segmenter
from anomseg.segmenters.onnx_session import open_session


def alternating(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each side; one round before is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, work in sides.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    """Export, time and print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", default="384x768", help="HEIGHTxWIDTH")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    size = parse_size(options.size)
    assert size is not None
    segmenter, detector = load_segmenter("bundled"), create_detector("energy")
    with tempfile.TemporaryDirectory() as folder:
        done = export_onnx(segmenter, detector, Path(folder) / "model.onnx", size=size)
        session = open_session(done.path)
    picture = random_pictures(size, 1)[0]
    feed = {"image": picture.transpose(2, 0, 1)[None].copy(), "threshold": np.array(0, np.float32)}
    medians = alternating(
        {
            "PyTorch": lambda: library_answer(segmenter, detector, [picture]),
            "ONNX Runtime": lambda: session.run(None, feed),
        },
        options.rounds,
    )
    print(f"bundled + energy at {options.size}, {torch.get_num_threads()} threads, median of {options.rounds} rounds")
    print(f"{done.parity}\n\n| | ms | times faster |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {1000 * median:.0f} | {medians['PyTorch'] / median:.2f} |")


if __name__ == "__main__":
    main()
