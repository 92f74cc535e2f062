"""A small MONAI UNet by leave-one-stack-out on fifteen real CT slices: figures with intervals, and no claim.

    python benchmarks/pancreas_slices.py --root shared/data/ct [--work runs/phantoms] [--steps 300] [--size 128]

Three stacks of five neighbouring slices: too few to say anything about a method. Each stack is segmented by a network
that was trained on the other two; the Dice of each slice is then foretold from the entropy of its probabilities, by a
line fitted on the other stacks. ``slices.json`` in the work folder is put on docs/claims-phantoms.md by
benchmarks/claims/phantoms.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import UNet
from torch import Tensor
from torch.nn import functional as F

from anomseg.data.volumes import Case, WorkingGrid, dice_overlap, load_cases
from anomseg.detectors.synthcp.volumes import VolumeSetting, VolumeUncertainty
from anomseg.errors import AnomsegError
from anomseg.files import write_json
from anomseg.metrics import ClassQuality, quality_intervals
from anomseg.metrics.bootstrap import resample_weights

OUT = "slices.json"
TARGET = "pancreas"
SAMPLES = 1000


def as_slices(stack: Case, size: int) -> list[Case]:
    """The slices of a stack as cases of one slice each, at a working size."""
    grid = WorkingGrid((1, size, size))
    image, _, truth = stack.decode()
    found = []
    for row in range(len(image)):
        box = (slice(row, row + 1), slice(0, image.shape[1]), slice(0, image.shape[2]))
        ct = grid.image(image, box).numpy() * 200 + 40  # back to Hounsfield units of the window
        mask = grid.mask(truth, box, 2).numpy().astype(np.uint8) if truth is not None else None
        found.append(
            Case(
                f"{stack.id}-{row}",
                lambda ct=ct: ct.astype(np.float32),
                None,
                lambda mask=mask: mask,
                stack.spacing,
                stack.id,
                stack.meta,
                stack.classes,
            )
        )
    return found


def train_unet(cases: Sequence[Case], steps: int, seed: int) -> torch.nn.Module:
    """A UNet of a few thousand weights, on mirrored and moved slices."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = UNet(2, 1, 2, channels=(8, 16, 32, 64), strides=(2, 2, 2), num_res_units=1)
    images, masks = _stacked(cases)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = rng.integers(len(images), size=4)
        image, mask = _moved(images[rows], masks[rows], rng)
        logits = network(image)
        share = logits.softmax(1)[:, 1]
        dice = (2 * (share * mask).sum((1, 2)) + 1) / (share.sum((1, 2)) + mask.sum((1, 2)) + 1)
        loss = F.cross_entropy(logits, mask.long()) + 1 - dice.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def judged(cases: Sequence[Case], network: torch.nn.Module) -> list[Case]:
    """The slices with what the network makes of them."""
    images, _ = _stacked(cases)
    with torch.no_grad():
        shares = network(images).softmax(1).numpy()
    return [
        replace(
            case,
            prediction=lambda share=share: share.argmax(0)[None].astype(np.uint8),
            soft=lambda share=share: share[:, None],
        )
        for case, share in zip(cases, shares, strict=True)
    ]


def _stacked(cases: Sequence[Case]) -> tuple[Tensor, Tensor]:
    parts = [case.decode() for case in cases]
    images = torch.stack([torch.from_numpy((image - 40) / 200) for image, _, _ in parts])
    return images, torch.stack([torch.from_numpy(truth[0].astype(np.float32)) for _, _, truth in parts])


def _moved(images: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Shifted by up to an eighth, scaled by up to a fifth, and brighter or darker."""
    count = len(images)
    scale = torch.from_numpy(rng.uniform(0.8, 1.2, count)).float()
    shift = torch.from_numpy(rng.uniform(-0.25, 0.25, (count, 2))).float()
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    places = F.affine_grid(theta, list(images.shape), align_corners=False)
    light = torch.from_numpy(rng.normal(0, 0.1, (count, 1, 1, 1))).float()
    moved = F.grid_sample(images, places, padding_mode="border", align_corners=False) + light
    return moved, F.grid_sample(masks[:, None], places, mode="nearest", align_corners=False)[:, 0]


def measure(root: Path, steps: int, size: int, seed: int) -> dict[str, Any]:
    """Leave each stack out once.

    Args:
        root: Folder of the slices.
        steps: Of each training.
        size: Sides of the slices.
        seed: Of the trainings and of the resampling.
    """
    stacks = {stack.id: as_slices(stack, size) for stack in load_cases("pancreas_slices", root)}
    told: dict[str, list[Case]] = {}
    for number, (name, cases) in enumerate(stacks.items()):
        others = [case for other, rest in stacks.items() if other != name for case in rest]
        told[name] = judged(cases, train_unet(others, steps, seed + number))
    setting = VolumeSetting(("background", TARGET), (TARGET,), WorkingGrid((1, size, size)))
    quality = ClassQuality([TARGET], "dice")
    dice: dict[str, list[float]] = {}
    for name, cases in told.items():
        detector = VolumeUncertainty(setting)
        detector.fit(case for other, rest in told.items() if other != name for case in rest)
        for case in cases:
            _, prediction, truth = case.decode()
            true = dice_overlap(prediction, truth, [1])
            dice.setdefault(name, []).append(float(true[0]))
            quality.update(detector.predict(case).failure.class_quality[0], true, case.id, name)
    means = np.array([np.mean(values) for values in dice.values()])
    drawn = resample_weights(len(means), SAMPLES, seed) @ means / len(means)
    figures, intervals = quality.compute().classes[TARGET], quality_intervals(quality, SAMPLES, seed)
    return {
        "slices": len(quality.frames),
        "steps": steps,
        "size": size,
        "seed": seed,
        "dice": {
            "mean": float(means.mean()),
            "ci95": np.quantile(drawn, [0.025, 0.975]).tolist(),
            "stacks": dict(zip(dice, means.tolist(), strict=True)),
        },
        "uncertainty": {
            "mae": figures.mae,
            "pearson": figures.pearson,
            "spearman": figures.spearman,
            "ci95": {name: list(limits) for name, limits in (intervals.figures or {}).items()},
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/phantoms"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        figures = measure(options.root, options.steps, options.size, options.seed)
    except AnomsegError as error:
        sys.stderr.write(f"pancreas_slices: {error}\n")
        return error.exit_code
    write_json(options.work / OUT, figures)
    sys.stdout.write(f"Dice {figures['dice']['mean']:.3f} over {figures['slices']} slices; {options.work / OUT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
