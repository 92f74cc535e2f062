"""One training, from a module and its data to a trained module: resumable, logged, seeded, on one device or several."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anomseg.errors import ConfigError
from anomseg.files import read_json, write_json
from anomseg.training.base_module import TrainingModule
from anomseg.training.callbacks import Guard, Record, Silence, figures_of
from anomseg.training.faults import explain
from anomseg.training.logs import loggers
from anomseg.training.options import OptimiserConfig
from anomseg.training.pictures import SamplePictures
from anomseg.training.samplers import ShareSampler, StreamSampler

START, LAST = "start.json", "last.ckpt"
"""Validation figures before the first step, and the checkpoint of the last epoch, in a stage's folder."""


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

    With several devices, processes are started for them, each of which draws its share of every step's crops; the
    module in this one has the result.

    Args:
        module: What to train; it is trained in place. With ``steps`` 0 of its optimiser it is validated only.
        crops: Numbered training samples of one shape.
        validation: Whole images, one a batch.
        folder: Where checkpoints, logs and sample pictures live; named after the stage.
        batch_size: Samples a step, of all devices together.
        workers: Loader processes a device; results are the same for any number.
        quiet: Show no progress; off a terminal none is shown anyway.

    Returns:
        ``steps``, ``images_seen``, ``seconds``, and the validation figures before the first step
        (``validation_start``) and after the last one (``validation``); ``settings`` where a resumed run had others
        than the one before.

    Raises:
        ConfigError: Crops or validation images cannot be shared among the devices.
        AnomsegError: The training diverged or memory ran out; the message says what to lower.
    """
    optimiser = module.optimiser
    devices = optimiser.devices
    images = len(validation)  # type: ignore[arg-type]
    if batch_size % devices or images < devices:
        raise ConfigError(
            f"{devices} devices cannot share {batch_size} crops a step and {images} validation images; choose a "
            "batch_size that is a multiple of trainer.devices, and no more devices than images"
        )
    record = Record({"learning_rate": optimiser.learning_rate, "batch_size": batch_size, "devices": devices})
    callbacks: list[Callback] = [Silence(), SamplePictures(folder)]
    lightning.seed_everything(module.seed, verbose=False)
    sampler = StreamSampler(optimiser.validate_every, batch_size)
    train = DataLoader(crops, batch_size // devices, sampler=sampler, num_workers=workers)
    whole = DataLoader(validation, 1, sampler=ShareSampler(images))
    last = folder / LAST
    with warnings.catch_warnings():
        # A frozen encoder is meant to be in evaluation mode.
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")  # the folder of a stage begun before
        if not last.is_file():
            first = _trainer(folder, optimiser, callbacks, quiet, trains=False)
            _run(first, partial(first.validate, module, whole, verbose=False), folder, lambda: True)
            write_json(folder / START, figures_of(first))
        start: dict[str, float] = read_json(folder / START)
        record.figures = start
        if optimiser.steps:
            trainer = _trainer(folder, optimiser, [record, Guard(), *callbacks], quiet)
            resume = str(last) if last.is_file() else None
            fit = partial(trainer.fit, module, train, whole, ckpt_path=resume, weights_only=True)
            _run(trainer, fit, folder, lambda: record.validating)
            if devices > 1:  # it was kept by another process
                kept = torch.load(last, map_location="cpu", weights_only=True, mmap=True)
                record.load_state_dict(kept["callbacks"][record.state_key])
    return {
        "steps": optimiser.steps,
        "images_seen": record.images(optimiser.steps, batch_size),
        "seconds": round(record.seconds, 1),
        "validation_start": start,
        "validation": record.figures,
        **({"settings": record.history} if len(record.history) > 1 else {}),
    }


def _run(trainer: lightning.Trainer, work: Callable[[], object], folder: Path, validating: Callable[[], bool]) -> None:
    """Do the trainer's work; what ends it early is told as `explain` says.

    Raises:
        KeyboardInterrupt: It was interrupted; Lightning would end the whole program.
        AnomsegError: See `run_training`.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        work()
    except SystemExit:
        if not trainer.interrupted:
            raise
    except Exception as error:
        told = explain(error, folder=folder, resumes=(folder / LAST).is_file(), validating=validating())
        if told is None or told is error:
            raise
        raise told from error
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored after an interruption
    if trainer.interrupted:
        raise KeyboardInterrupt


def _trainer(
    folder: Path, optimiser: OptimiserConfig, callbacks: list[Callback], quiet: bool, trains: bool = True
) -> lightning.Trainer:
    """A trainer with checkpoints and logs, or one that only validates, on one device.

    Raises:
        ConfigError: There are no such devices here, or no such precision.
    """
    several = trains and optimiser.devices > 1
    checkpoint = ModelCheckpoint(
        folder, "last", every_n_epochs=1, save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
    )
    bar = not quiet and sys.stdout.isatty()
    make = partial(
        lightning.Trainer,
        accelerator=optimiser.accelerator,
        devices=optimiser.devices if several else 1,
        strategy=_strategy() if several else "auto",
        precision=optimiser.precision,  # type: ignore[arg-type]
        max_epochs=optimiser.steps // optimiser.validate_every,
        gradient_clip_val=optimiser.clip or None,
        logger=loggers(folder) if trains else False,
        callbacks=[
            *callbacks,
            *([checkpoint] if trains else []),
            *([TQDMProgressBar(refresh_rate=10)] if bar else []),
        ],
        enable_checkpointing=trains,
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, optimiser.validate_every),
        default_root_dir=folder,
        use_distributed_sampler=False,  # ours share the samples already
        sync_batchnorm=several and _on_gpus(optimiser),
    )
    try:
        return make()
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(
            f"{folder.name}.trainer: accelerator {optimiser.accelerator}, devices {optimiser.devices} and precision "
            f"{optimiser.precision} cannot be had here ({' '.join(str(error).split())})"
        ) from error


def _strategy() -> Strategy:
    """Processes that are started for this training alone, so that nothing around it is done twice."""
    # A loss may leave some weights out, such as those of an auxiliary head; where none is, every process would say so.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    return DDPStrategy(start_method="spawn", find_unused_parameters=True)


def _on_gpus(optimiser: OptimiserConfig) -> bool:
    """Whether batch norms can count over all devices, as those of one device count over all crops of a step."""
    return optimiser.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
