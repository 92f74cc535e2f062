"""Discrepancy of known and held-out classes: additive histograms over frames, and what they come to."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomseg.detectors.dicnet import DiCNet
from anomseg.errors import DataError
from anomseg.files import write_bytes
from anomseg.segmenters import Segmenter, make_scene
from anomseg.types import VOID, Frame

BLOCK = 20
"""Neighbouring frames that are resampled together."""
BINS = np.concatenate([[0.0], np.geomspace(1e-4, 1e3, 701), [np.inf]])
"""Edges on a logarithmic scale: a quantile is known to 2.4 %."""
RESAMPLES = 1000


@dataclass
class Histograms:
    """Pixels by block of frames, true class and discrepancy.

    Attributes:
        names: The classes.
        counts: ``(blocks, classes, bins)`` int64.
        seen: Frames that are counted.
        networks: Hashes of the teacher and the student that they are counted with.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    seen: list[str] = field(default_factory=list)
    networks: str = ""

    @classmethod
    def empty(cls, names: Sequence[str], frames: int) -> Histograms:
        """None counted yet, of so many frames in all."""
        return cls(tuple(names), np.zeros((-(-frames // BLOCK), len(names), BINS.size - 1), np.int64))

    def add(self, position: int, frame: str, score: NDArray[np.float32], classes: NDArray[np.uint8]) -> None:
        """Count a frame: its place in the list, its id, its discrepancy and true classes ``(H, W)``."""
        for index in range(len(self.names)):
            self.counts[position // BLOCK, index] += np.histogram(score[classes == index], BINS)[0]
        self.seen.append(frame)

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        stream = io.BytesIO()
        texts = {"names": self.names, "seen": self.seen, "networks": self.networks}
        np.savez_compressed(stream, counts=self.counts, **{key: np.array(text, str) for key, text in texts.items()})
        write_bytes(path, stream.getvalue())

    @classmethod
    def load(cls, path: Path) -> Histograms:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            networks = str(stored["networks"]) if "networks" in stored else ""
            return cls(tuple(map(str, stored["names"])), stored["counts"], list(map(str, stored["seen"])), networks)


def measure(
    detector: DiCNet,
    segmenter: Segmenter | None,
    frames: Sequence[Frame],
    names: Sequence[str],
    path: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> Histograms:
    """Count every frame, or those that an earlier attempt has not counted; written after each tenth.

    Args:
        detector: A trained ``dicnet``.
        segmenter: Its teacher, where it is attached.
        frames: With class maps.
        names: Classes of those maps.
        path: Where it is kept.
        progress: Called with the id of each frame.

    Raises:
        DataError: What is kept is of other classes, frames or networks.
    """
    detector.require_fitted()
    found = Histograms.load(path) if path.is_file() else Histograms.empty(names, len(frames))
    fresh = Histograms.empty(names, len(frames))
    if found.names != fresh.names or found.counts.shape != fresh.counts.shape:
        raise DataError(f"{path} is of other classes or frames; remove it to measure anew")
    network, student = detector.segmenter or segmenter, detector.student
    networks = " ".join(one.fingerprint() for one in (network, student) if one is not None)
    if found.seen and found.networks != networks:
        raise DataError(f"{path} is of another teacher or student; remove it to measure anew")
    found.networks = networks
    for position, frame in enumerate(frames):
        if frame.id in found.seen:
            continue
        classes = frame.classes
        if classes is None:
            raise DataError(f"frame {frame.id} has no class map")
        with torch.inference_mode():
            scene = make_scene([frame.image()], [frame.id], network)
            score = detector.score(scene)[0].numpy()
        found.add(position, frame.id, score, np.where(classes < len(names), classes, VOID).astype(np.uint8))
        progress(frame.id)
        if len(found.seen) % 10 == 0:
            found.save(path)
    found.save(path)
    return found


def quantile(counts: NDArray[np.int64], share: float) -> float:
    """A quantile of a histogram, at the middle of its bin (geometric); NaN of nothing."""
    total = counts.sum()
    if total == 0:
        return float("nan")
    index = int(np.searchsorted(np.cumsum(counts), share * total, "left"))
    low, high = BINS[min(index, BINS.size - 2)], BINS[min(index + 1, BINS.size - 2)]
    return float(np.sqrt(max(low, BINS[1] / 2) * high))


def exceeds(odd: NDArray[np.number], known: NDArray[np.number]) -> float:
    """Probability that a pixel of one histogram lies above one of another, ties half; NaN where one is empty."""
    if not odd.sum() or not known.sum():
        return float("nan")
    below = np.concatenate([[0], np.cumsum(known)[:-1]])
    return float((odd * (below + known / 2)).sum() / (float(odd.sum()) * float(known.sum())))


def comparisons(counts: NDArray[np.int64], held_out: Sequence[int]) -> dict[str, float]:
    """Probability that a held-out pixel is odder than a known one: over all pixels, and over classes alike.

    Args:
        counts: ``(classes, bins)``.
        held_out: Classes that the teacher was not taught.
    """
    odd = counts[list(held_out)].sum(0)
    known = [index for index in range(len(counts)) if index not in held_out and counts[index].sum()]
    by_class = [exceeds(odd, counts[index]) for index in known]
    return {
        "pixels": exceeds(odd, counts[known].sum(0)) if known else float("nan"),
        "classes": float(np.mean(by_class)) if by_class else float("nan"),
    }


def study(found: Histograms, held_out: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Figures of one network: quartiles by class, both comparisons with 95 % intervals over blocks, the verdict."""
    odd = [found.names.index(name) for name in held_out]
    total = found.counts.sum(0)
    point = comparisons(total, odd)
    rng = np.random.default_rng(seed)
    blocks = len(found.counts)
    drawn = [comparisons(found.counts[rng.integers(0, blocks, blocks)].sum(0), odd) for _ in range(RESAMPLES)]
    intervals: dict[str, list[float] | None] = {}
    for key in point:
        values = np.array([one[key] for one in drawn])
        values = values[~np.isnan(values)]
        intervals[key] = [float(x) for x in np.quantile(values, [0.025, 0.975])] if values.size > 0 else None
    classes = {
        name: {
            "pixels": int(total[index].sum()),
            "held_out": index in odd,
            "quartiles": [_plain(quantile(total[index], share)) for share in (0.25, 0.5, 0.75)],
            "exceeded": _plain(exceeds(total[odd].sum(0), total[index])),
        }
        for index, name in enumerate(found.names)
    }
    enough = int((found.counts[:, odd].sum((1, 2)) > 0).sum()) > 2
    return {
        "frames": len(found.seen),
        "blocks": blocks,
        "classes": classes,
        "exceeds": {key: _plain(value) for key, value in point.items()},
        "ci95": intervals,
        "verdict": verdict(intervals) if enough else "undecided",
    }


def _plain(value: float) -> float | None:
    """A number as JSON may hold it."""
    return None if np.isnan(value) else value


def verdict(intervals: Mapping[str, Sequence[float] | None]) -> str:
    """Supported where a held-out pixel is odder than a known one, by pixels and by classes, with both intervals."""
    limits = [one for one in intervals.values() if one is not None]
    if len(limits) == len(intervals) and all(low > 0.5 for low, _ in limits):
        return "supported"
    return "not supported" if any(high < 0.5 for _, high in limits) else "undecided"
