"""The stage that trains a segmenter: configuration, Lightning module, and what it leaves behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from anomseg.errors import AnomsegError, ConfigError
from anomseg.metrics import SegmentationIoU
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter, load_segmenter, save_segmenter
from anomseg.segmenters.pyramid import PyramidNet
from anomseg.segmenters.scene import make_scene
from anomseg.training.augment import AugmentConfig
from anomseg.training.labelled import (
    CropDataset,
    FrameStore,
    LabelledConfig,
    LabelTable,
    SourceConfig,
    StreamSampler,
    load_source,
)
from anomseg.training.losses import set_valued_cross_entropy
from anomseg.training.recipe import Recipe, StageConfig, configure


@dataclass(frozen=True)
class NetworkConfig:
    """What to train.

    Attributes:
        network: Registered segmenter with random weights.
        options: Its options; the classes come from the label space.
        start: A saved segmenter whose weights to start from instead of random ones.
        balance: Weigh classes by the inverse logarithm of their frequency.
        auxiliary: Weight of the auxiliary loss, where the network has an auxiliary head.
        loss_stride: The loss reads every n-th pixel of a crop in both directions; 2 saves a third of a step's time.
        half: Store the result as float16.
    """

    network: str = "pyramid"
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    balance: bool = True
    auxiliary: float = 0.4
    loss_stride: int = 1
    half: bool = True


@dataclass(frozen=True)
class OptimiserConfig:
    """How to train.

    Attributes:
        steps: Optimiser steps.
        learning_rate: Peak of the schedule: linear warm-up, then a cosine to zero, stepped each iteration.
        warmup: Share of the steps spent warming up.
        weight_decay: AdamW's, on convolution kernels only.
        clip: Bound of the gradient's norm.
        validate_every: Steps between validations, which are also the points to resume from.
        precision: Lightning's precision; ``bf16-mixed`` halves the time on processors with bfloat16.
        channels_last: Memory layout; faster for convolutions.
        accelerator: Lightning's accelerator.
        devices: Lightning's devices.
    """

    steps: int = 7000
    learning_rate: float = 2e-3
    warmup: float = 0.03
    weight_decay: float = 0.02
    clip: float = 5.0
    validate_every: int = 500
    precision: str = "bf16-mixed"
    channels_last: bool = True
    accelerator: str = "auto"
    devices: int = 1


class SegmentationModule(lightning.LightningModule):
    """Set-valued cross-entropy on crops, mean IoU on whole validation images."""

    def __init__(
        self,
        segmenter: Segmenter,
        sets: Tensor,
        weights: Tensor,
        network: NetworkConfig,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.segmenter, self.network, self.optimiser, self.seed = segmenter, network, optimiser, seed
        self.register_buffer("sets", sets)
        self.register_buffer("row_weights", weights)
        self.seen = SegmentationIoU(len(segmenter.classes))

    def _losses(self, batch: Tensor, rows: Tensor) -> Tensor:
        sets, weights = self.get_buffer("sets"), self.get_buffer("row_weights")
        if self.optimiser.channels_last:
            batch = batch.contiguous(memory_format=torch.channels_last)
        if isinstance(self.segmenter, PyramidNet):
            main, auxiliary = self.segmenter.training_logits(batch)
            # Labels at the auxiliary head's stride, taken at cell corners, are enough for deep supervision.
            stride = rows.shape[-1] // auxiliary.shape[-1]
            side = set_valued_cross_entropy(auxiliary, rows[:, ::stride, ::stride], sets, weights)
        else:
            main, side = self.segmenter(batch).logits, rows.new_zeros((), dtype=torch.float32)
        rows = rows[:, :: self.network.loss_stride, :: self.network.loss_stride]
        main = F.interpolate(main.float(), rows.shape[-2:], mode="bilinear", align_corners=False)
        return set_valued_cross_entropy(main, rows, sets, weights) + self.network.auxiliary * side

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what the straight one draws."""
        del batch, index
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """One step on a batch of crops."""
        del index
        loss = self._losses(*batch)
        if not torch.isfinite(loss):
            raise AnomsegError(
                f"the loss became {loss.item()} at step {self.global_step}; lower trainer.learning_rate, then run the "
                "same command again: it continues from the last checkpoint"
            )
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        """Loss and confusion on one whole image."""
        del index
        image, rows, classes = batch
        self.log("val_loss", self._losses(image, rows), batch_size=1, on_epoch=True)
        size = self.segmenter.working_size((classes.shape[-2], classes.shape[-1]))
        output = self.segmenter(image, input_size=size)
        logits = output.upsample(output.logits.float(), (classes.shape[-2], classes.shape[-1]))
        self.seen.update(logits.argmax(1)[0], classes[0])

    def on_validation_epoch_end(self) -> None:
        """Report the mean IoU and start afresh."""
        self.log("val_miou", self.seen.compute().miou, prog_bar=True)
        self.seen = SegmentationIoU(len(self.segmenter.classes))

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up and cosine, stepped each iteration."""
        decayed = [p for p in self.segmenter.parameters() if p.ndim > 1]
        others = [p for p in self.segmenter.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.optimiser.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        adam = torch.optim.AdamW(groups, lr=self.optimiser.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            adam,
            max_lr=self.optimiser.learning_rate,
            total_steps=self.optimiser.steps + 1,
            pct_start=self.optimiser.warmup,
            cycle_momentum=False,
        )
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Validation(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Whole images as the segmenter prepares them, with labels as rows and as classes."""

    def __init__(self, store: FrameStore, segmenter: Segmenter, table: LabelTable, source: int) -> None:
        self.store, self.segmenter, self.table, self.source = store, segmenter, table, source

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
        return batch, rows, torch.from_numpy(classes.astype("int64"))


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
        SEGMENTERS.get(self.network.network)

    def check(self) -> None:
        """Find the data before any training starts."""
        for source in [*self.sources, self.validation]:
            load_source(source, self.recipe.roots, self.data.limit)

    def _segmenter(self) -> Segmenter:
        if self.network.start:
            return load_segmenter(self.network.start)
        space = label_space(self.data.space)
        torch.manual_seed(self.recipe.seed)
        return SEGMENTERS.create(
            self.network.network, classes=space.names, palette=space.palette, **dict(self.network.options)
        )

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
        sources = [*self.sources, self.validation]
        table = LabelTable(self.data.space, sources)
        stores = [load_source(source, self.recipe.roots, self.data.limit) for source in sources]
        weights = table.weights
        if self.network.balance:
            exact = next((i for i, source in enumerate(sources) if source.benchmark == self.data.space), None)
            if exact is None:
                raise ConfigError(f"{self.name}.module.balance needs a source labelled in {self.data.space} itself")
            weights = table.balance(stores[exact].class_frequencies(len(segmenter.classes)))
        if self.optimiser.channels_last:
            segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = SegmentationModule(segmenter, table.sets, weights, self.network, self.optimiser, self.recipe.seed)
        shares = [source.share for source in self.sources]
        crops = CropDataset(stores[:-1], shares, table, self.augment, self.recipe.seed)
        sampler = StreamSampler(self.optimiser.validate_every * self.data.batch_size)
        train = DataLoader(crops, self.data.batch_size, sampler=sampler, num_workers=self.data.workers)
        validation = DataLoader(_Validation(stores[-1], segmenter, table, len(sources) - 1), 1)
        timer = _Timer()
        trainer = self._trainer(folder, [timer], quiet)
        last = folder / "last.ckpt"
        resume = str(last) if last.is_file() else None
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
        }
        save_segmenter(segmenter.eval(), out, half=self.network.half, meta=summary)
        return summary

    def _trainer(self, folder: Path, callbacks: Sequence[Callback], quiet: bool) -> lightning.Trainer:
        checkpoint = ModelCheckpoint(
            folder, "last", every_n_epochs=1, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
        )
        return lightning.Trainer(
            accelerator=self.optimiser.accelerator,
            devices=self.optimiser.devices,
            precision=self.optimiser.precision,  # type: ignore[arg-type]
            max_epochs=self.optimiser.steps // self.optimiser.validate_every,
            gradient_clip_val=self.optimiser.clip,
            logger=CSVLogger(folder, name="log", version=_next_log(folder / "log")),
            callbacks=[checkpoint, *callbacks, *([] if quiet else [TQDMProgressBar(refresh_rate=10)])],
            enable_progress_bar=not quiet,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=min(50, self.optimiser.validate_every),
            default_root_dir=folder,
        )


def _next_log(folder: Path) -> str:
    """A fresh log folder for each start, because Lightning deletes the log of the run that it resumes."""
    return f"start-{sum(1 for _ in folder.glob('start-*')) + 1}"
