"""How thresholds of conformal risk control hold on frames drawn like those of the calibration, and fail elsewhere.

    python benchmarks/calibration.py --camvid CamVid --road-anomaly RoadAnomaly --out runs/calibration

One pass of the network over CamVid val and test and over RoadAnomaly counts the in-distribution scores of each frame;
an interrupted pass goes on where it stopped, and tables are made from the counts in seconds. Writes the tables into
docs/calibration.md and everything into OUT/calibration.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from doc_section import replace_section

from anomseg.calibration import FrameScores, Loss, control_risk, units_needed, valid_pixels
from anomseg.data import load_frames
from anomseg.detectors import resolve_detector
from anomseg.errors import ConfigError, FrameError
from anomseg.evaluation.sources import NetworkSource, Sample
from anomseg.files import read_json, write_json
from anomseg.segmenters import load_segmenter
from anomseg.types import Frame

BLOCK = 10
EVERY = 20
"""Frames after which counts are written."""
RISKS: Sequence[tuple[Loss, float]] = (("pixels", 0.01), ("pixels", 0.05), ("frames", 0.1))
Json = dict[str, Any]


@dataclass(frozen=True)
class Set:
    """Frames that are counted in one file.

    Attributes:
        key: Its name in files and tables.
        dataset: Registered name.
        split: Which part.
        root: Where it lies.
    """

    key: str
    dataset: str
    split: str | None
    root: Path

    def frames(self, limit: int | None) -> list[Frame]:
        """Its frames, in the order in which they were taken."""
        return load_frames(self.dataset, self.root, self.split, limit=limit)


def count(source: NetworkSource, one: Set, out: Path, limit: int | None) -> dict[str, FrameScores]:
    """The counts of a set by detector, those on disk first."""
    files = {name: out / f"{one.key}-{name}.npz" for name in source.detectors}
    states = {name: FrameScores.load(file) if file.is_file() else FrameScores() for name, file in files.items()}
    todo = [frame for frame in one.frames(limit) if any(frame.id not in state.frames for state in states.values())]
    for done, frame in enumerate(todo, 1):
        image = frame.image()
        sample = Sample(frame.id, (image.shape[0], image.shape[1]), image)
        lacking = [name for name, state in states.items() if frame.id not in state.frames]
        for answer in source.answers(sample, lacking):
            if answer.error is not None:
                raise FrameError(f"{frame.id}: {answer.error}")
            states[answer.folder].update(answer.score, valid_pixels(frame), frame.id, frame.group)
        if done % EVERY == 0 or done == len(todo):
            for name, state in states.items():
                state.save(files[name])
            print(f"{one.key}: {done} of {len(todo)} frames", flush=True)
    return states


def on_average(scores: FrameScores, loss: Loss, risk: float, size: int, draws: int) -> Json:
    """Mean loss of held-out frames over random draws of the calibration frames, which makes all exchangeable."""
    rng, names, means = np.random.default_rng(0), scores.frames, []
    for _ in range(draws):
        order = rng.permutation(len(names))
        chosen = [names[place] for place in sorted(order[:size])]
        rest = [names[place] for place in sorted(order[size:])]
        threshold = control_risk(scores.only(chosen), risk, loss=loss).threshold
        means.append(float(scores.only(rest).losses(threshold, loss).mean()))
    return {
        "loss": loss,
        "risk": risk,
        "calibration": size,
        "draws": draws,
        "mean": float(np.mean(means)),
        "standard_error": float(np.std(means) / np.sqrt(draws)),
        "exceeding": float(np.mean(np.array(means) > risk)),
    }


def parts(states: dict[str, FrameScores]) -> Iterator[tuple[str, FrameScores]]:
    """What a threshold of CamVid val is tried on: itself, each sequence of the test frames, another domain."""
    yield "CamVid val (calibration)", states["camvid-val"]
    test = states["camvid-test"]
    for sequence in dict.fromkeys(test.groups):
        members = [name for name, group in zip(test.frames, test.groups, strict=True) if group == sequence]
        yield f"CamVid test, {sequence}", test.only(members)
    yield "RoadAnomaly, inliers", states["road-anomaly"]


def interval(losses: np.ndarray, units: Sequence[Sequence[int]], samples: int = 2000) -> list[float]:
    """A 95 % interval of the mean loss by resampling units of neighbouring frames."""
    rng = np.random.default_rng(0)
    sums = np.array([[losses[list(unit)].sum(), len(unit)] for unit in units])
    drawn = sums[rng.integers(0, len(units), (samples, len(units)))].sum(axis=1)
    return [float(value) for value in np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))]


def transfer(states: dict[str, FrameScores], loss: Loss, risk: float, block: int) -> Json | None:
    """A threshold of CamVid val on other frames; None where val has too few units."""
    val = states["camvid-val"]
    if len(val.units(block)) < units_needed(risk):
        return None
    found = control_risk(val, risk, loss=loss, block=block)
    rows = []
    for name, scores in parts(states):
        losses = scores.losses(found.threshold, loss)
        place = {frame: index for index, frame in enumerate(scores.frames)}
        grouped = scores.units(BLOCK) if all(scores.groups) else scores.units(1)
        units = [[place[frame] for frame in unit] for unit in grouped]
        rows.append({"frames": len(scores), "set": name, "mean": float(losses.mean()), "ci95": interval(losses, units)})
    return {
        "loss": loss,
        "risk": risk,
        "block": block,
        "units": found.units,
        "threshold": found.threshold,
        "rows": rows,
    }


def claim(out: Path, network: str) -> None:
    """Refuse a folder whose counts are of another network than that of this hash."""
    record = out / "network.json"
    if not record.is_file():
        write_json(record, {"sha256": network})
    if read_json(record).get("sha256") != network:
        raise ConfigError(f"{out} holds counts of another network; give another --out")


def tables(by_detector: dict[str, Any], draws: int) -> tuple[str, Json]:
    """Both tables in Markdown, and all figures."""
    drawn = [
        "| detector | bounded | risk | calibration frames | mean of held-out frames | standard error | draws above |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    moved = [
        "| detector | bounded | risk | unit | frames | mean loss | 95 % interval | within the risk |",
        "|---|---|---:|---|---|---:|---:|---|",
    ]
    told: Json = {"drawn": [], "transfer": []}
    for name, states in by_detector.items():
        pool = states["camvid-val"].merge(states["camvid-test"])
        for loss, risk in RISKS:
            size = max(units_needed(risk), len(pool) // 2)
            if size < len(pool):
                row = on_average(pool, loss, risk, size, draws)
                told["drawn"].append({"detector": name, **row})
                drawn.append(
                    f"| {name} | {loss} | {risk:g} | {size} | {row['mean']:.4f} | {row['standard_error']:.4f} | "
                    f"{row['exceeding']:.0%} |"
                )
            for block in (1, BLOCK):
                found = transfer(states, loss, risk, block)
                if found is None:
                    continue
                told["transfer"].append({"detector": name, **found})
                unit = "frame" if block == 1 else f"block of {block}"
                for row in found["rows"]:
                    low, high = row["ci95"]
                    verdict = "yes" if high <= risk else "no" if low > risk else "open"
                    moved.append(
                        f"| {name} | {loss} | {risk:g} | {unit} ({found['units']}) | {row['set']} ({row['frames']}) | "
                        f"{row['mean']:.4f} | [{low:.4f}, {high:.4f}] | {verdict} |"
                    )
    text = "\n".join(
        [
            "### Frames drawn alike", "",
            "Calibration frames drawn at random from CamVid val and test together, the others held out: exchangeable "
            "by construction.", "", *drawn, "",
            "### From CamVid val to other drives and to another domain", "",
            "Intervals resample blocks of ten neighbouring frames; `open` is an interval that holds the risk.", "",
            *moved,
        ]
    )  # fmt: skip
    return text, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--road-anomaly", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--segmenter", default="bundled")
    parser.add_argument("--detector", nargs="+", default=["energy", "max_logit"])
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--limit", type=int, default=None, help="the first frames of each set only, for a trial")
    parser.add_argument("--docs", type=Path, default=Path("docs/calibration.md"))
    options = parser.parse_args()
    sets = (
        Set("camvid-val", "camvid", "val", options.camvid),
        Set("camvid-test", "camvid", "test", options.camvid),
        Set("road-anomaly", "road_anomaly", None, options.road_anomaly),
    )
    segmenter = load_segmenter(options.segmenter)
    detectors = {Path(name).name: resolve_detector(name) for name in options.detector}
    source = NetworkSource(detectors, segmenter)
    options.out.mkdir(parents=True, exist_ok=True)
    claim(options.out, segmenter.fingerprint())
    counted = {one.key: count(source, one, options.out, options.limit) for one in sets}
    by_detector = {name: {key: states[name] for key, states in counted.items()} for name in detectors}
    text, told = tables(by_detector, options.draws)
    told |= {
        "segmenter": segmenter.identity(),
        "frames": {key: len(counted[key][next(iter(detectors))]) for key in counted},
    }
    write_json(options.out / "calibration.json", told)
    network = f"Network: {segmenter.identity()['name']} (`--segmenter {options.segmenter}`)."
    print(text)
    replace_section(options.docs, f"{network}\n\n{text}")


if __name__ == "__main__":
    main()
