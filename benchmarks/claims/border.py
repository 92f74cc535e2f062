"""Claim R2: where samples of a flow lie before and after joint training, beside the data; the same on two moons.

    python benchmarks/claims/border.py moons [--work runs/claims-border]
    python benchmarks/claims/border.py samples --name camvid --data camvid=CAMVID --start NETWORK --flow FLOW
        --joint RUN --detached RUN --feature encoder --side 64 [--held-out bicyclist] [--work runs/claims-border]

NETWORK and FLOW are what joint training began with; RUN are folders that the recipes camvid-synthetic-outliers or
cifar10-synthetic-outliers wrote, with and without ``detached``. Each call leaves NAME.json in the work folder.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from border_figures import FLOWS, distances, figures_of
from numpy.typing import NDArray
from torch import Tensor

from anomseg.data import label_space, load_frames
from anomseg.detectors.synthetic_outliers.flow import RealNVP, load_flow
from anomseg.errors import AnomsegError, ConfigError
from anomseg.files import read_json, write_json
from anomseg.segmenters import Segmenter, load_segmenter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

BATCH = 50
Json = dict[str, Any]


def patches(name: str, root: str, split: str, held_out: Sequence[str], count: int, side: int, seed: int) -> Tensor:
    """Random patches ``(count, 3, side, side)`` in [0, 1] of frames that show no held-out class.

    Args:
        name: The data set.
        root: Its folder.
        split: Which of its frames.
        held_out: Classes whose frames are left out.
        count: How many patches, evenly spread over the frames.
        side: Their side.
        seed: Of the places.

    Raises:
        ConfigError: Every frame shows a held-out class.
    """
    rng = np.random.default_rng(seed)
    unknown = [label_space(name).names.index(one) for one in held_out]
    frames = load_frames(name, root=root, split=split)
    known = [frame for frame in frames if not unknown or not np.isin(frame.classes, unknown).any()]
    if not known:
        raise ConfigError(f"every frame of {name} {split} shows a held-out class; choose another network")
    found: list[NDArray[np.uint8]] = []
    for place in range(count):
        image = known[place * len(known) // count].image()  # evenly spread over the frames
        top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
        found.append(image[top : top + side, left : left + side])
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255


def samples(flow: RealNVP, count: int, side: int, seed: int) -> Tensor:
    """Samples of a flow; flows that are alike draw them from the same latents.

    Args:
        flow: The flow.
        count: How many.
        side: Their side.
        seed: Of the latents.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [flow.sample(min(BATCH, count - first), (side, side), generator) for first in range(0, count, BATCH)]
    return torch.cat(drawn)


def answers(network: Segmenter, images: Tensor, feature: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean max-softmax of each image, ``(N,)``, and its mean feature, ``(N, C)``."""
    sure, features = [], []
    for part in images.split(BATCH):
        output = network(part, features=(feature,))
        sure.append(output.logits.softmax(1).amax(1).mean((1, 2)))
        features.append(output.features[feature].mean((2, 3)))
    return torch.cat(sure).double().numpy(), torch.cat(features).double().numpy()


def logged(run: Path) -> list[Json]:
    """What the joint stage has logged in validation, by step."""
    stage = run / "stages" / "joint"
    found = [{"step": 0, **read_json(stage / "start.json")}] if (stage / "start.json").is_file() else []
    for path in sorted(stage.glob("log/start-*/metrics.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                told = {key: float(value) for key, value in row.items() if key.startswith("val_") and value}
                if told:
                    found.append({"step": int(row["step"]) + 1, **told})
    return found


def study(options: argparse.Namespace) -> Json:
    """Samples of every flow beside data: how sure two networks are, and how far from the training data."""
    name, _, root = options.data.partition("=")
    if not root:
        raise ConfigError(f"--data {options.data} names no folder; write {name}=DIR")
    held_out = tuple(options.held_out.split(",")) if options.held_out else ()
    start = load_segmenter(options.start).eval()
    end = load_segmenter(str(options.joint / "networks" / "network")).eval()
    of_runs = {"detached": options.detached, "joint": options.joint}
    flows = {"flow alone": load_flow(options.flow)}
    flows |= {key: load_flow(run / "stages" / "joint" / "flow") for key, run in of_runs.items()}
    torch.manual_seed(options.seed)
    flows["noise"] = RealNVP(**flows["flow alone"].options()).eval()  # the identity on logits: every pixel by itself
    where = (name, root)
    count, side, seed = options.count, options.side, options.seed
    with torch.inference_mode():
        bank = answers(start, patches(*where, "train", held_out, options.bank, side, seed), options.feature)[1]
        images = {"data": patches(*where, "val", held_out, count, side, seed + 1)}
        images |= {key: samples(flows[key], count, side, seed) for key in FLOWS}
        told = {
            key: (*answers(start, one, options.feature), answers(end, one, options.feature)[0])
            for key, one in images.items()
        }
    far = distances(bank, {key: features for key, (_, features, _) in told.items()})
    values = {key: {"start": before, "distance": far[key], "end": after} for key, (before, _, after) in told.items()}
    return {
        "title": f"{options.name}, patches of {side}x{side}, feature {options.feature}",
        "seed": seed,
        "count": count,
        **figures_of(values, seed),
        "logged": {key: logged(run) for key, run in of_runs.items()},
    }


def moons(seed: int) -> Json:
    """The two moons of benchmarks/two_moons.py: the same questions of a flow of two numbers."""
    import two_moons  # noqa: PLC0415 - a module of the folder above

    outcome = two_moons.train(two_moons.Settings(seed=seed))
    with torch.no_grad():
        images = {"data": outcome.points, "flow alone": outcome.before, "joint": outcome.after}
        noise = torch.rand(len(outcome.points), 2, generator=torch.Generator().manual_seed(seed)) * 4.8 - 2.4
        images["noise"] = noise
        sure = {key: outcome.classifier(one).softmax(1).amax(1).double().numpy() for key, one in images.items()}
        rng = np.random.default_rng(seed + 1)
        bank = two_moons.two_moons(2000, rng)[0].double().numpy()
        far = distances(bank, {key: one.double().numpy() for key, one in images.items()})
        figures = outcome.figures()
    values: Mapping[str, Mapping[str, NDArray[np.float64]]] = {
        key: {"end": sure[key], "distance": far[key]} for key in images
    }
    return {
        "title": "two moons",
        "seed": seed,
        "count": len(outcome.points),
        **figures_of(values, seed),
        "figures": figures,
        "logged": {},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("samples", "moons"), help="samples of flows of images, or the two moons")
    parser.add_argument("--work", type=Path, default=Path("runs/claims-border"), help="where measurements are kept")
    parser.add_argument("--name", default="camvid", help="what the page calls it, and its file")
    parser.add_argument("--data", default="", help="the data set and its folder, such as camvid=DIR")
    parser.add_argument("--held-out", default="", help="classes that were not taught, with commas")
    parser.add_argument("--start", help="the network that joint training began with")
    parser.add_argument("--flow", help="the flow that it began with")
    parser.add_argument("--joint", type=Path, help="folder of the joint training")
    parser.add_argument("--detached", type=Path, help="folder of the same training, detached")
    parser.add_argument("--feature", default="encoder", help="feature in which distances are taken")
    parser.add_argument("--side", type=int, default=64, help="side of the patches")
    parser.add_argument("--count", type=int, default=400, help="samples, and patches of data, that are looked at")
    parser.add_argument("--bank", type=int, default=2000, help="patches of training data that distances are to")
    parser.add_argument("--seed", type=int, default=0, help="of latents, places and resampling")
    options = parser.parse_args(arguments)
    try:
        found = moons(options.seed) if options.what == "moons" else study(options)
        target = options.work / f"{'moons' if options.what == 'moons' else options.name}.json"
        write_json(target, found)
    except AnomsegError as error:
        raise SystemExit(str(error)) from error
    for name, gap in found["gaps"].items():
        sys.stdout.write(f"{name}: {gap['value']:.4f} {gap['ci95']}\n")
    sys.stdout.write(f"written to {target}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
