"""What the units of work on one network share: its cache, its banks, and results that are kept once they are there."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knn_bank import Rows, bank_rows
from knn_cache import Cache, CachedFrame
from knn_plan import FrameSet, Network
from knn_search import Cells

from anomseg.files import read_json, write_json


class NotMeasured(Exception):  # noqa: N818 - no error: something to go on without
    """A unit whose result is asked for is not there, and nothing is to be measured now."""


KS = (1, 3, 5, 10, 20, 50)
ROWS = 40_000
"""Rows of the bank wherever they are not what varies; fixed beforehand, not chosen."""
SWEEP_CELLS = 700
"""A sweep reads at most about so many cells of a frame, spread evenly, and the pixels under them; fewer where a set has
more frames than `USUAL_FRAMES`."""
USUAL_FRAMES = 60
Json = dict[str, Any]


@dataclass
class Study:
    """A network, its cached frames, and the folder of finished units.

    Attributes:
        network: What is studied.
        cache: Its frames.
        out: Folder of the units' results.
        rows: Rows of the bank where they are not what varies.
        finished_only: Measure nothing: take what is there.
    """

    network: Network
    cache: Cache
    out: Path
    rows: int = ROWS
    finished_only: bool = False
    _banks: dict[tuple[str, int], Rows] = field(default_factory=dict)
    _kept: dict[str, Any] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line of progress, with the seconds so far."""
        sys.stderr.write(f"[{time.monotonic() - self._start:6.0f} s] {self.network.key}: {text}\n")
        sys.stderr.flush()

    def frames(self, which: FrameSet) -> list[CachedFrame]:
        """Frames of a set."""
        return self.cache.frames(which)

    def bank(self, layer: str, seed: int = 0) -> Rows:
        """All rows of the bank in a random order, remembered."""
        if (layer, seed) not in self._banks:
            self._banks[layer, seed] = bank_rows(self.frames(self.network.bank), layer, seed)
        return self._banks[layer, seed]

    def cells(self, which: FrameSet, layer: str, most: int = SWEEP_CELLS) -> Cells:
        """The finest even choice of at most so many cells in a frame; in all as many for a large set as a usual one."""
        most = min(most, most * USUAL_FRAMES // len(self.frames(which)))
        height, width = self.frames(which)[0].grid(layer)
        step = 1
        while Cells(step).of((height, width)).size > most:
            step += 1
        return Cells(step)

    def protocol(self, which: FrameSet, cells: Cells | None = None, seeds: Sequence[int] = (0,)) -> Json:
        """What must stand beside figures: frames, split, sizes, what is read, seeds."""
        frames = self.frames(which)
        first = frames[0].record
        step = 1 if cells is None else cells.step
        return {
            "network": self.network.title,
            "set": which.title,
            "frames": len(frames),
            "input": list(first["input"]),
            "labels": list(first["image"]),
            "cells": "all" if step == 1 else f"1 in {step} in both directions, and the pixels under them",
            "bank": self.network.bank.title,
            "bank_frames": len(self.frames(self.network.bank)),
            "seeds": list(seeds),
        }

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Something costly that several units of this process use."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def path(self, name: str) -> Path:
        """Where a unit's result lies."""
        return self.out / f"{self.network.key}-{name}.json"

    def once(self, name: str, make: Callable[[], Json], **asked: Any) -> Json:
        """A unit's result: that of an earlier run that was asked the same, else made now and kept.

        Args:
            name: Of the unit.
            make: Does the work.
            **asked: All that the result depends on, JSON-ready.

        Raises:
            NotMeasured: Only finished units are wanted, and this is none.
        """
        path = self.path(name)
        asked = {
            **asked,
            "segmenter": self.network.segmenter,
            "rows": self.rows,
            "sets": {one.key: [frame.name for frame in self.frames(one)] for one in self.network.sets},
        }
        if path.is_file():
            kept = read_json(path)
            if kept["asked"] == json.loads(json.dumps(asked)):
                return dict(kept["result"])
        if self.finished_only:
            raise NotMeasured(name)
        self.say(f"unit {name}")
        start = time.monotonic()
        result = make()
        write_json(path, {"asked": asked, "seconds": time.monotonic() - start, "result": result})
        return result
