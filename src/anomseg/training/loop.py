"""One training, from a module and its data to a trained module: resumable, logged, seeded."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomseg.files import read_json, write_json
from anomseg.training.base_module import TrainingModule
from anomseg.training.labelled import StreamSampler
from anomseg.training.options import OptimiserConfig

START = "start.json"
"""Validation figures before the first step, beside the checkpoints."""


class Timer(Callback):
    """Seconds spent in training, summed over resumed runs."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return self.before + time.perf_counter() - self.started

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        self.before = float(state_dict["seconds"])


def run_training(
    module: TrainingModule,
    crops: Dataset[dict[str, Tensor]],
    validation: Dataset[dict[str, Tensor]],
    *,
    folder: Path,
    batch_size: int,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a module, or continue where a stopped run left off.

    Args:
        module: What to train; it is trained in place. With ``steps`` 0 of its optimiser it is validated only.
        crops: Numbered training samples of one shape.
        validation: Whole images, one a batch.
        folder: Where checkpoints and logs live.
        batch_size: Samples a step.
        workers: Loader processes; results are the same for any number.
        quiet: Show no progress.

    Returns:
        ``steps``, ``images_seen``, ``seconds``, and the validation figures before the first step
        (``validation_start``) and after the last one (``validation``).

    Raises:
        AnomsegError: The loss is no longer finite.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    lightning.seed_everything(module.seed, verbose=False)
    optimiser = module.optimiser
    sampler = StreamSampler(optimiser.validate_every * batch_size)
    train = DataLoader(crops, batch_size, sampler=sampler, num_workers=workers)
    whole = DataLoader(validation, 1)
    timer, last = Timer(), folder / "last.ckpt"
    with warnings.catch_warnings():
        # A frozen encoder is meant to be in evaluation mode.
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        if not last.is_file():
            first = _trainer(folder, optimiser, [], quiet, logged=False)
            first.validate(module, whole, verbose=False)
            write_json(folder / START, _figures(first))
        start: dict[str, float] = read_json(folder / START)
        steps, figures = 0, start
        if optimiser.steps:
            trainer = _trainer(folder, optimiser, [timer], quiet)
            resume = str(last) if last.is_file() else None
            trainer.fit(module, train, whole, ckpt_path=resume, weights_only=True)
            if trainer.interrupted:
                raise KeyboardInterrupt
            steps, figures = trainer.global_step, _figures(trainer)
    return {
        "steps": steps,
        "images_seen": steps * batch_size,
        "seconds": round(timer.seconds, 1),
        "validation_start": start,
        "validation": figures,
    }


def _figures(trainer: lightning.Trainer) -> dict[str, float]:
    return {key: round(float(value), 4) for key, value in trainer.callback_metrics.items()}


def _trainer(
    folder: Path, optimiser: OptimiserConfig, callbacks: Sequence[Callback], quiet: bool, logged: bool = True
) -> lightning.Trainer:
    checkpoint = ModelCheckpoint(
        folder, "last", every_n_epochs=1, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return lightning.Trainer(
        accelerator=optimiser.accelerator,
        devices=optimiser.devices,
        precision=optimiser.precision,  # type: ignore[arg-type]
        max_epochs=optimiser.steps // optimiser.validate_every,
        gradient_clip_val=optimiser.clip or None,
        logger=CSVLogger(folder, name="log", version=_next_log(folder / "log")) if logged else False,
        callbacks=[
            *([checkpoint] if logged else []),
            *callbacks,
            *([] if quiet else [TQDMProgressBar(refresh_rate=10)]),
        ],
        enable_checkpointing=logged,
        enable_progress_bar=not quiet,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, optimiser.validate_every),
        default_root_dir=folder,
    )


def _next_log(folder: Path) -> str:
    """A fresh log folder for each start, because Lightning deletes the log of the run that it resumes."""
    return f"start-{sum(1 for _ in folder.glob('start-*')) + 1}"
