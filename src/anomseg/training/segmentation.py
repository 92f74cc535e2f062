"""The stage that trains a segmenter: what it reads, and what it leaves behind."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from anomseg.data import label_space
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import sha256_of_file
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter, load_segmenter, save_segmenter
from anomseg.segmenters.catalog import BUNDLED
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.saved import WEIGHTS
from anomseg.segmenters.scene import make_scene
from anomseg.segmenters.trainable import EncoderNetwork, MaskSupervision, StartableEncoder
from anomseg.training.augment import AugmentConfig
from anomseg.training.label_table import LabelTable, TaughtClasses
from anomseg.training.labelled import (
    CropDataset,
    FrameStore,
    LabelledConfig,
    SourceConfig,
    StreamSampler,
    load_source,
)
from anomseg.training.mask_module import MaskModule
from anomseg.training.module import SegmentationModule
from anomseg.training.options import NetworkConfig, OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure
from anomseg.types import UInt8Array


class _Validation(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Whole images as the segmenter prepares them, with labels as rows of the table and as the network's classes."""

    def __init__(
        self, store: FrameStore, segmenter: Segmenter, table: LabelTable, source: int, lookup: UInt8Array
    ) -> None:
        self.store, self.segmenter, self.table, self.source = store, segmenter, table, source
        self.lookup = lookup

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        image, classes = self.store[index]
        scene = make_scene([image], [str(index)], self.segmenter)
        rows = self.table.rows(self.source, classes)
        batch = scene.images[0]
        inside = F.interpolate(rows[None, None].float(), scene.input_size, mode="nearest")[0, 0].long()
        rows = inside.new_zeros(batch.shape[-2:])  # row 0: the padding is void
        rows[: inside.shape[0], : inside.shape[1]] = inside
        return batch, rows, torch.from_numpy(self.lookup[classes].astype("int64"))


class _Timer(Callback):
    """Seconds spent in training, summed over resumed runs."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        self.before = float(state_dict["seconds"])


class SegmentationStage:
    """Trains one segmenter from labelled frames.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        self.network = configure(NetworkConfig, config.module, f"{config.name}.module")
        self.data = configure(LabelledConfig, config.data, f"{config.name}.data")
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{config.name}.trainer")
        self.augment = configure(AugmentConfig, self.data.augment, f"{config.name}.data.augment")
        self.sources = [configure(SourceConfig, one, f"{config.name}.data.sources") for one in self.data.sources]
        if not self.sources:
            raise ConfigError(f"{config.name}.data.sources is empty; name at least one data set")
        self.validation = configure(SourceConfig, self.data.validation, f"{config.name}.data.validation")
        if self.optimiser.steps % self.optimiser.validate_every:
            raise ConfigError(f"{config.name}.trainer: steps must be a multiple of validate_every")
        self.taught = TaughtClasses(self.data.space, self.data.held_out)
        self.spaces = [label_space(source.benchmark) for source in [*self.sources, self.validation]]
        self._check_network()

    def _check_network(self) -> None:
        kind = SEGMENTERS.get(self.network.network).factory
        # What a function builds is asked once it is built.
        encoder = not isinstance(kind, type) or issubclass(kind, EncoderNetwork)
        asked = [name for name in ("encoder_start", "freeze_encoder") if getattr(self.network, name)]
        if asked and not encoder:
            raise ConfigError(
                f"{self.name}.module: {asked[0]} is for networks on a published encoder, which "
                f"{self.network.network} is not"
            )
        if self.network.start and self.network.encoder_start:
            raise ConfigError(f"{self.name}.module: give start or encoder_start, not both")
        smallest = getattr(kind, "smallest_batch", 1)
        if self.data.batch_size < smallest:
            raise ConfigError(
                f"{self.name}.data: {self.network.network} normalises over the crops of a step; batch_size must be at "
                f"least {smallest}"
            )

    def check(self) -> None:
        """Find the data, and what the network starts from, before any training starts."""
        start = self.network.encoder_start
        if self.network.freeze_encoder and not (start or self.network.start):
            raise ConfigError(
                f"{self.recipe.name} trains a head on an encoder that is trained already: add "
                f"--stages.{self.name}.module.encoder_start FILE"
            )
        if start:
            self._segmenter()
        self._load_stores()

    def _load_stores(self) -> list[FrameStore]:
        """Frames of each source, then those of the validation set, whose held-out pixels are void."""
        roots, limit, withheld = self.recipe.roots, self.data.limit, self.taught.withheld
        stores = [
            load_source(source, roots, limit, withheld(space), self.data.held_out_images)
            for source, space in zip(self.sources, self.spaces[:-1], strict=True)
        ]
        return [*stores, load_source(self.validation, roots, limit, withheld(self.spaces[-1]), "void")]

    def _segmenter(self) -> Segmenter:
        if self.network.start:
            segmenter = load_segmenter(self.network.start)
            if segmenter.registry_name != self.network.network:
                raise CompatibilityError(
                    f"{self.network.start} is of the network {segmenter.registry_name}, not {self.network.network}; "
                    f"set {self.name}.module.network"
                )
            if segmenter.classes != self.taught.names:
                raise CompatibilityError(
                    f"{self.network.start} knows other classes ({', '.join(segmenter.classes)}) than {self.name} "
                    f"teaches ({', '.join(self.taught.names)})"
                )
            return segmenter
        torch.manual_seed(self.recipe.seed)
        segmenter = SEGMENTERS.create(
            self.network.network,
            classes=self.taught.names,
            palette=self.taught.palette or None,
            **dict(self.network.options),
        )
        start = self.network.encoder_start
        if start:
            if not isinstance(segmenter, StartableEncoder):
                raise ConfigError(f"{self.name}.module: {self.network.network} has no encoder that encoder_start sets")
            segmenter.load_encoder(load_checkpoint(_checkpoint(start)), start)
        return segmenter

    def _row_weights(self, table: LabelTable, stores: Sequence[FrameStore]) -> Tensor:
        if not self.network.balance:
            return table.weights
        exact = next((i for i, space in enumerate(self.spaces) if space.name == self.data.space), None)
        if exact is None:
            raise ConfigError(f"{self.name}.module.balance needs a source labelled in {self.data.space} itself")
        lookup = self.taught.lookup(self.spaces[exact])
        return table.balance(stores[exact].class_frequencies(lookup, len(self.taught.names)))

    def run(self, folder: Path, out: Path, *, quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off.

        Args:
            folder: Where checkpoints and logs of this stage live.
            out: Where the trained segmenter is written.
            quiet: Show no progress.

        Returns:
            What was trained: steps, images seen, seconds, final validation figures.
        """
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        lightning.seed_everything(self.recipe.seed, verbose=False)
        segmenter = self._segmenter()
        origin = self._origin(segmenter)
        sources = [*self.sources, self.validation]
        table = LabelTable(self.taught, self.spaces, [source.loss_weight for source in sources])
        stores = self._load_stores()
        weights = self._row_weights(table, stores)
        if self.optimiser.channels_last:
            segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kind = MaskModule if isinstance(segmenter, MaskSupervision) else SegmentationModule
        module = kind(segmenter, table.sets, weights, self.network, self.optimiser, self.recipe.seed)
        shares = [source.share for source in self.sources]
        crops = CropDataset(stores[:-1], shares, table, self.augment, self.recipe.seed)
        sampler = StreamSampler(self.optimiser.validate_every * self.data.batch_size)
        train = DataLoader(crops, self.data.batch_size, sampler=sampler, num_workers=self.data.workers)
        lookup = self.taught.lookup(self.spaces[-1])
        validation = DataLoader(_Validation(stores[-1], segmenter, table, len(sources) - 1, lookup), 1)
        timer = _Timer()
        trainer = self._trainer(folder, [timer], quiet)
        last = folder / "last.ckpt"
        resume = str(last) if last.is_file() else None
        with warnings.catch_warnings():
            # A frozen encoder is meant to be in evaluation mode.
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
            trainer.fit(module, train, validation, ckpt_path=resume, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            "steps": trainer.global_step,
            "images_seen": trainer.global_step * self.data.batch_size,
            "seconds": round(timer.seconds, 1),
            "validation": {key: round(float(value), 4) for key, value in trainer.callback_metrics.items()},
            "data": {f"{one.benchmark}/{one.split}": len(store) for one, store in zip(sources, stores, strict=True)},
            **origin,
        }
        segmenter.random_weights = False  # they are learned now
        save_segmenter(segmenter.eval(), out, half=self.network.half, meta=summary)
        return summary

    def _origin(self, segmenter: Segmenter) -> dict[str, Any]:
        """What the network, not yet trained here, is not taught, and what it starts from."""
        found: dict[str, Any] = {}
        if self.data.held_out:
            found["held_out"] = {"classes": list(self.data.held_out), "images": self.data.held_out_images}
        frozen = self.network.freeze_encoder
        if self.network.encoder_start:
            path = _checkpoint(self.network.encoder_start)
            name = "bundled" if self.network.encoder_start == "bundled" else path.name
            found["encoder"] = {"file": name, "sha256": sha256_of_file(path), "frozen": frozen}
        if self.network.start:
            name = Path(self.network.start).name
            found["start"] = {"name": name, "sha256": segmenter.fingerprint(), "frozen_encoder": frozen}
        return found

    def _trainer(self, folder: Path, callbacks: Sequence[Callback], quiet: bool) -> lightning.Trainer:
        checkpoint = ModelCheckpoint(
            folder, "last", every_n_epochs=1, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
        )
        return lightning.Trainer(
            accelerator=self.optimiser.accelerator,
            devices=self.optimiser.devices,
            precision=self.optimiser.precision,  # type: ignore[arg-type]
            max_epochs=self.optimiser.steps // self.optimiser.validate_every,
            gradient_clip_val=self.optimiser.clip or None,
            logger=CSVLogger(folder, name="log", version=_next_log(folder / "log")),
            callbacks=[checkpoint, *callbacks, *([] if quiet else [TQDMProgressBar(refresh_rate=10)])],
            enable_progress_bar=not quiet,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=min(50, self.optimiser.validate_every),
            default_root_dir=folder,
        )


def _checkpoint(start: str) -> Path:
    """The file behind ``encoder_start``."""
    path = BUNDLED / WEIGHTS if start == "bundled" else Path(start)
    if not path.is_file():
        raise DataError(f"no checkpoint at {start}; give the path of a .safetensors or .pth file, or 'bundled'")
    return path


def _next_log(folder: Path) -> str:
    """A fresh log folder for each start, because Lightning deletes the log of the run that it resumes."""
    return f"start-{sum(1 for _ in folder.glob('start-*')) + 1}"
