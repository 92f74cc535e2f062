"""The stage ``folds``: k networks by one recipe, each predicting the frames that it was not trained on."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from anomseg.data import frame_fingerprint
from anomseg.errors import ConfigError
from anomseg.files import read_json, write_json
from anomseg.metrics import SegmentationIoU
from anomseg.metrics.segmentation import iou_of_confusion, mean_iou
from anomseg.segmenters import Segmenter, load_segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.training.bounds import check_bounds
from anomseg.training.folds import INDEX, PREDICTIONS, SCHEMA, Rule, frames_to_learn, plan_folds, write_prediction
from anomseg.training.folds_data import FoldData
from anomseg.training.options import NetworkConfig
from anomseg.training.recipe import Recipe, StageConfig
from anomseg.training.segmentation import SegmentationStage

GIVES = "folds"
DONE = "fold.json"


@dataclass(frozen=True)
class FoldsConfig(NetworkConfig):
    """A network, and how the frames are parted.

    Attributes:
        folds: How many networks are trained.
        rule: ``contiguous``, ``groups`` or ``random``, see `plan_folds`.
        gap: Frames next to a block to be predicted that its network does not see either, see `frames_to_learn`.
        most_cells: Predictions of more cells are averaged down to about as many before they are kept.
    """

    folds: int = 4
    rule: Rule = "contiguous"
    gap: int = 0
    most_cells: int = 65536

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("folds", self.folds, 2)
        check_bounds("gap", self.gap, 0)
        check_bounds("most_cells", self.most_cells, 1)


class FoldsStage(SegmentationStage):
    """Trains as many segmenters as there are folds and keeps what each says of the frames that it has not seen.

    Every one of them is trained as the stage ``segmentation`` trains: from labelled frames, or its head from the
    features that an earlier stage has computed once for all folds. Finished folds are not done again.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    network_config: ClassVar[type[NetworkConfig]] = FoldsConfig

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        super().__init__(recipe, config)
        assert isinstance(self.network, FoldsConfig)  # noqa: S101 - by `network_config`
        self.folds: FoldsConfig = self.network
        if config.gives != GIVES:
            raise ConfigError(f"{self.name} gives predictions of folds; write gives: {GIVES}")
        if len(self.data.labelled.sources) != 1:
            raise ConfigError(f"{self.name}: folds are parts of one data set; name one source")
        if self.network.start:
            raise ConfigError(
                f"{self.name}.module.start: a network that is trained already may have seen the frames that it is to "
                "predict; leave start out"
            )

    def check(self) -> None:
        """Find data and network, and part the frames, before any training starts."""
        super().check()
        plan = self._plan()
        for fold in range(self.folds.folds):
            frames_to_learn(plan, fold, self.folds.gap, [str(number) for number in range(len(plan))])
        features = self.data.features_stage
        start = features.module.get("start") if features is not None else None
        if start and not _frozen_encoder(load_segmenter(start)):
            raise ConfigError(
                f"{self.name}: the encoder of {start} may have been trained on the frames that the folds are to "
                "predict; give the features stage an encoder_start instead"
            )

    def _plan(self) -> list[int]:
        frames = self.data.labelled.stores[0].frames
        return plan_folds([frame.cluster for frame in frames], self.folds.folds, self.folds.rule, self.recipe.seed)

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train and predict fold by fold, or go on with the fold that a stopped run was at; see `Stage.run`.

        Returns:
            Steps, images seen and seconds of all folds together, and the mean IoU of what they predict.
        """
        self.data.bind(taken)
        frames, plan = self.data.labelled.stores[0].frames, self._plan()
        prints = [frame_fingerprint(frame) for frame in frames]
        done = []
        for fold in range(self.folds.folds):
            place = folder / f"fold-{fold}"
            learned = frames_to_learn(plan, fold, self.folds.gap, prints)
            held = [number for number, own in enumerate(plan) if own == fold]
            if not ((place / DONE).is_file() and all(_file(out, number).is_file() for number in held)):
                write_json(place / DONE, self._fold(place, out, taken, learned, held, quiet))
            done.append(read_json(place / DONE))
        confusion = np.sum([np.array(one["confusion"], np.int64) for one in done], 0)
        iou, names = iou_of_confusion(confusion), self.data.taught.names
        config, source = self.data.labelled.config, self.data.labelled.sources[0]
        miou = round(mean_iou(iou), 4)
        write_json(
            out / INDEX,
            {
                "schema": SCHEMA,
                "classes": list(names),
                "space": config.space,
                "held_out": {"classes": list(config.held_out), "images": config.held_out_images},
                "source": {"benchmark": source.benchmark, "split": source.split, "limit": config.limit},
                "rule": self.folds.rule,
                "gap": self.folds.gap,
                "seed": self.recipe.seed,
                "miou": miou,
                "iou": {
                    name: None if np.isnan(one) else round(float(one), 4) for name, one in zip(names, iou, strict=True)
                },
                "networks": [
                    {**one["network"], "seen": [frames[number].id for number in one["learned"]]} for one in done
                ],
                "frames": {
                    frame.id: {"fold": fold, "file": str(_file(Path(), number)), "fingerprint": prints[number]}
                    for number, (frame, fold) in enumerate(zip(frames, plan, strict=True))
                },
            },
        )
        return {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **{key: round(sum(one["network"][key] for one in done), 1) for key in ("steps", "images_seen", "seconds")},
            "validation": {"out_of_fold_miou": miou},
            "folds": [one["network"] for one in done],
            **self.data.record(),
        }

    def _fold(
        self,
        place: Path,
        out: Path,
        taken: Mapping[str, Path],
        learned: Sequence[int],
        held: Sequence[int],
        quiet: bool,
    ) -> dict[str, Any]:
        """Train the network of one fold, predict its frames, and say what was done."""
        began = time.perf_counter()
        trainer = copy.copy(self)
        trainer.data = FoldData(self.data, learned)
        segmenter, summary = trainer.train(place / self.name, taken, quiet)
        confusion = self._predict(segmenter, out, held, quiet)
        return {
            "network": {
                "sha256": segmenter.fingerprint(),
                "learned": len(learned),
                "predicted": len(held),
                "miou": round(mean_iou(iou_of_confusion(confusion)), 4),
                "steps": summary["steps"],
                "images_seen": summary["images_seen"],
                "seconds": round(time.perf_counter() - began, 1),
                "validation": summary["validation"],
            },
            "learned": list(learned),
            "confusion": confusion.tolist(),
        }

    def _predict(self, segmenter: Segmenter, out: Path, held: Sequence[int], quiet: bool) -> np.ndarray:
        """Keep the predictions of a fold, and count them against the truth at the images' own size."""
        from rich.progress import track  # noqa: PLC0415 - kept out of start-up

        labelled = self.data.labelled
        store, lookup = labelled.stores[0], labelled.taught.lookup(labelled.spaces[0])
        counted = SegmentationIoU(len(labelled.taught.names))
        for number in track(held, f"{self.name}: predictions", disable=quiet):
            image, classes = store[number]
            scene = make_scene([image], [store.frames[number].id], segmenter)
            with torch.inference_mode():
                write_prediction(_file(out, number), scene.output, self.folds.most_cells)
                counted.update(scene.prediction()[0], lookup[classes], store.frames[number].id)
        return counted.compute().confusion


def _file(out: Path, number: int) -> Path:
    return out / PREDICTIONS / f"{number:06d}.safetensors"


def _frozen_encoder(network: Segmenter) -> bool:
    """Whether a trained network says that its encoder was not."""
    encoder = network.origin.get("encoder")
    return isinstance(encoder, Mapping) and bool(encoder.get("frozen"))
