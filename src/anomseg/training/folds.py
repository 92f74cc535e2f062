"""Out-of-fold predictions: which frames are predicted together, and the file that says who predicted which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from anomseg.data import frame_fingerprint
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.files import read_json, write_bytes
from anomseg.segmenters import SegmentationOutput
from anomseg.types import Frame

INDEX, PREDICTIONS = "folds.json", "predictions"
SCHEMA = 1
Rule = Literal["contiguous", "groups", "random"]
RULES = ("contiguous", "groups", "random")
_MAP = "log_probabilities"


def plan_folds(groups: Sequence[str], folds: int, rule: Rule = "contiguous", seed: int = 0) -> list[int]:
    """Which fold each frame is in.

    Frames of a video resemble their neighbours: a network that has seen the frame before and the one after does not
    fail on the one between as it fails on a street it has never seen. Drawn at random, folds of a video tell how well
    a network remembers.

    Args:
        groups: Sequence or scene of each frame, in the order of the frames.
        folds: How many.
        rule: ``contiguous``: blocks of frames that follow each other, as equal as can be; ``groups``: whole sequences,
            the longest first to the fold with the fewest frames so far; ``random``.
        seed: Of ``random``.

    Returns:
        A number in [0, folds) for each frame; every fold has a frame.

    Raises:
        ConfigError: An unknown rule, fewer than two folds, or fewer frames or sequences than folds.

    Example:
        >>> plan_folds(["a"] * 5, 2), plan_folds(["a", "b", "b", "c"], 2, "groups")
        ([0, 0, 0, 1, 1], [1, 0, 0, 1])
    """
    if rule not in RULES:
        raise unknown_name("rule of folds", rule, RULES)
    sequences = list(dict.fromkeys(groups))
    there = len(sequences) if rule == "groups" else len(groups)
    if folds < 2 or there < folds:
        what = "sequences" if rule == "groups" else "frames"
        raise ConfigError(f"{there} {what} cannot be parted into {folds} folds; choose at least 2 and at most {there}")
    found = np.zeros(len(groups), np.int64)
    if rule == "groups":
        sizes = Counter(groups)
        filled = [0] * folds
        place = {}
        for name in sorted(sequences, key=lambda name: -sizes[name]):
            place[name] = filled.index(min(filled))
            filled[place[name]] += sizes[name]
        return [place[name] for name in groups]
    order = np.arange(len(groups)) if rule == "contiguous" else np.random.default_rng(seed).permutation(len(groups))
    for fold, part in enumerate(np.array_split(order, folds)):
        found[part] = fold
    return [int(fold) for fold in found]


def frames_to_learn(plan: Sequence[int], fold: int, gap: int, fingerprints: Sequence[str]) -> list[int]:
    """The frames that the network of a fold may learn from.

    Args:
        plan: The fold of each frame.
        fold: The one that it is to predict.
        gap: Frames next to one of that fold that are left out too.
        fingerprints: Of the frames' images: copies of an image to be predicted are left out.

    Returns:
        Numbers of frames, in order.

    Raises:
        ConfigError: None is left.

    Example:
        >>> frames_to_learn([0, 0, 0, 1, 1, 1], 1, 1, list("abcdea"))
        [1]
    """
    held = {number for number, own in enumerate(plan) if own == fold}
    near = {number + step for number in held for step in range(-gap, gap + 1)}
    copies = {fingerprints[number] for number in held}
    learned = [
        number for number, print_ in enumerate(fingerprints) if number not in held | near and print_ not in copies
    ]
    if not learned:
        raise ConfigError(f"fold {fold} leaves no frame to learn from; choose other folds or a smaller gap")
    return learned


def write_prediction(path: Path, output: SegmentationOutput, most_cells: int) -> None:
    """Keep a prediction: the logarithm of its softmax as float16, at the network's own resolution or less.

    Logarithms, because a softmax of logits that were resized is what scoring reads, and it is the same of them.

    Args:
        path: The file.
        output: Of one image.
        most_cells: Maps of more cells are averaged down to about as many.
    """
    logits = output.logits.detach().float().cpu()
    height, width = logits.shape[-2:]
    factor = max(int(np.ceil(np.sqrt(height * width / most_cells))), 1)
    if factor > 1:
        logits = F.interpolate(logits, (-(-height // factor), -(-width // factor)), mode="area")
    sizes = torch.tensor([*output.padded_size, *output.input_size])
    write_bytes(path, save({_MAP: logits.log_softmax(1).half().contiguous(), "sizes": sizes}))


class Folds:
    """Predictions that a stage ``folds`` has left, each by a network that did not see the frame.

    Args:
        folder: What the stage wrote.

    Raises:
        DataError: There is nothing of the kind, it is damaged, or a network has seen what it predicts.

    Attributes:
        record: Everything that the file says.
        classes: Names of the classes that are predicted.
        ids: Ids of the predicted frames, in their order.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / INDEX).is_file():
            raise DataError(f"{self.folder} holds no {INDEX}; give a directory that 'anomseg train camvid-folds' wrote")
        record = read_json(self.folder / INDEX)
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise DataError(f"{self.folder / INDEX} is of another version or damaged; run the folds again")
        self.record: dict[str, Any] = record
        try:
            self.classes: tuple[str, ...] = tuple(record["classes"])
            self.ids: tuple[str, ...] = tuple(record["frames"])
            seen = [set(network["seen"]) for network in record["networks"]]
            by_frame = {name: seen[entry["fold"]] for name, entry in record["frames"].items()}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise DataError(f"{self.folder / INDEX} is damaged; copy it again, or run the folds again") from error
        for name, seen_by_its_network in by_frame.items():
            if name in seen_by_its_network:
                raise DataError(
                    f"{self.folder / INDEX}: frame {name} was predicted by a network that was trained on it"
                )

    def fold_of(self, frame_id: str) -> int:
        """The fold that a frame is in."""
        return int(self.record["frames"][frame_id]["fold"])

    def output(self, frame_id: str) -> SegmentationOutput:
        """The prediction of a frame: logits ``(1, C, h, w)`` float32 over the padded input, up to a constant a pixel.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self.folder / self.record["frames"][frame_id]["file"]
        try:
            stored = load_file(path)
            sizes = [int(side) for side in stored["sizes"]]
            logits: Tensor = stored[_MAP].float()
        except (OSError, KeyError, SafetensorError) as error:
            raise DataError(
                f"{path} is missing or damaged ({' '.join(str(error).split())}); copy the whole directory, or run the "
                "folds again"
            ) from error
        return SegmentationOutput(logits, (sizes[0], sizes[1]), (sizes[2], sizes[3]))

    def match(self, frames: Iterable[Frame]) -> list[Frame]:
        """The predicted frames among those of a data set, in the order of the predictions.

        Args:
            frames: As they are read now.

        Raises:
            DataError: One is missing, or shows another image than the one that was predicted.
        """
        there = {frame.id: frame for frame in frames}
        for name, entry in self.record["frames"].items():
            if name not in there:
                raise DataError(f"frame {name} of {self.folder} is not among those of the data; give the same data set")
            if frame_fingerprint(there[name]) != entry["fingerprint"]:
                raise DataError(
                    f"frame {name} shows another image than the one that {self.folder} predicts; run the folds again"
                )
        return [there[name] for name in self.ids]
