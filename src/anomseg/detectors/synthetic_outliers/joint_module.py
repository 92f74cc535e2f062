"""The Lightning module that trains a network and a flow together; imported by training alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from anomseg.detectors.synthetic_outliers.divergence import divergence_to_uniform
from anomseg.detectors.synthetic_outliers.flow import FlowDivergedError, RealNVP
from anomseg.detectors.synthetic_outliers.joint_options import FlowTrainerConfig, JointConfig
from anomseg.detectors.synthetic_outliers.joint_pictures import JointPictures
from anomseg.detectors.synthetic_outliers.pasting import PastedPatches, beside_padding, draw_size, paste
from anomseg.errors import AnomsegError
from anomseg.segmenters import Segmenter
from anomseg.segmenters.base import Size
from anomseg.training.base_module import DivergenceError, Sample
from anomseg.training.losses import sample_logits
from anomseg.training.module import SegmentationModule
from anomseg.training.optimisers import build_optimiser, scale_rates
from anomseg.training.options import OptimiserConfig

WATCHED = 16
"""Validation images on which samples are looked at, the first ones."""
FLOW_RATE = "flow_learning_rate"
"""Key of a checkpoint: the learning rate that the flow was trained with."""


@dataclass(frozen=True)
class JointTerms:
    """The terms of one step's loss, scalars, and what is logged beside them.

    Attributes:
        classes: Cross-entropy of the pixels that no sample covers.
        divergence: From the uniform distribution, the mean over samples' pixels.
        bits: Bits per dimension of what the samples cover, where that is no padding.
        confidence: Mean largest softmax probability on samples.
    """

    classes: Tensor
    divergence: Tensor
    bits: Tensor
    confidence: Tensor


class JointModule(SegmentationModule):
    """``CE(inliers) + weight * D(U, p on samples) + bits(covered inliers)``, the network and the flow each its part.

    A sample is not rounded to the levels of an image, so the divergence moves the flow too, unless it is ``detached``.
    The network's batch norms keep the statistics that they came with: samples would spoil them. The flow always
    computes in float32.

    Args:
        segmenter: The network.
        flow: The flow.
        sides: Sides that patches may have.
        sets: ``(L, C)`` bool, the classes that each label may stand for.
        weights: ``(L,)`` weight of each label.
        network: Losses.
        optimiser: How to train the network.
        flow_trainer: How to train the flow.
        seed: Seed of whatever is drawn while training.
        frozen: The network's encoder is not trained.
    """

    network: JointConfig

    def __init__(
        self,
        segmenter: Segmenter,
        flow: RealNVP,
        sides: Sequence[int],
        sets: Tensor,
        weights: Tensor,
        network: JointConfig,
        optimiser: OptimiserConfig,
        flow_trainer: FlowTrainerConfig,
        seed: int,
        frozen: bool = False,
    ) -> None:
        # Gradients are clipped here, those of each network by itself, since there are two optimisers.
        super().__init__(segmenter, sets, weights, network, replace(optimiser, clip=0.0), seed, frozen)
        self.automatic_optimization = False
        self.flow, self.sides = flow, tuple(sides)
        self.clip, self.flow_trainer = optimiser.clip, flow_trainer
        self.pictures = JointPictures()

    @property
    def trained(self) -> nn.Module:
        """Both networks."""
        return nn.ModuleDict({"segmenter": self.segmenter, "flow": self.flow})

    def train(self, mode: bool = True) -> JointModule:
        """Set the mode; batch norms of the network always stay as in use."""
        super().train(mode)
        for module in self.segmenter.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def configure_optimizers(self) -> Any:
        """The network's optimiser, then the flow's, and their schedules."""
        built = [
            build_optimiser(self.segmenter, self.optimiser),
            build_optimiser(self.flow, self.flow_trainer.beside(self.optimiser)),
        ]
        return [one for one, _ in built], [schedule for _, schedule in built]

    def samples(self, count: int, size: Size) -> Tensor:
        """Samples of the flow ``(count, 3, h, w)`` in [0, 1], in float32.

        Raises:
            AnomsegError: The flow has diverged.
        """
        try:
            with self._precisely():
                return self.flow.sample(count, size)
        except FlowDivergedError as error:
            raise self._diverged("its samples are not finite") from error

    def bits(self, images: Tensor) -> Tensor:
        """Bits per dimension ``(B,)`` of images, in float32."""
        with self._precisely():
            return self.flow.bits_per_dimension(images.float())

    @contextmanager
    def _precisely(self) -> Iterator[None]:
        with torch.autocast(self.device.type, enabled=False):
            yield

    def _diverged(self, how: str) -> AnomsegError:
        where = f"{self._stage()}.module.flow_trainer"
        return AnomsegError(
            f"the flow diverged at step {self.global_step}: {how}; run the same command again with a lower "
            f"{where}.learning_rate or {where}.clip"
        )

    def _stage(self) -> str:
        folder = self._trainer.default_root_dir if self._trainer is not None else ""
        return f"--stages.{str(folder).rstrip('/').rpartition('/')[2] or 'joint'}"

    def terms(self, batch: Sample) -> JointTerms:
        """The terms of the loss of crops with ``image`` and ``rows``.

        Raises:
            AnomsegError: The flow has diverged.
        """
        images, rows = batch["image"], batch["rows"]
        size = draw_size(self.sides) if self.network.paste else (images.shape[-2], images.shape[-1])
        samples = self.samples(len(images), size)
        # What the network reads: the cross-entropy of pixels beside a sample, whose surroundings it is, stops there.
        read = samples.detach().requires_grad_(not self.network.detached and torch.is_grad_enabled())
        if self.network.paste:
            pasted = paste(images, read)
            main, auxiliary = self._logits({"image": pasted.images})
            loss = self._classes(main, auxiliary, rows.masked_fill(pasted.covered, 0))
            odd, covered, content = main, pasted.covered, pasted.content
        else:
            # One pass over both, as one batch.
            main, auxiliary = self._logits({"image": torch.cat([images, read])})
            early = None if auxiliary is None else auxiliary[: len(images)]
            loss = self._classes(main[: len(images)], early, rows)
            odd, covered, content = main[len(images) :], torch.ones_like(rows, dtype=torch.bool), images
        divergence, confidence = self._doubt(odd, covered)
        if read.requires_grad:
            divergence = _passed_on(divergence, read, samples)
        known = beside_padding(images, rows == 0, covered)
        bits = self.bits(content[known]).mean() if known.any() else 0 * self.bits(content).sum()
        return JointTerms(loss, divergence, bits, confidence)

    def _classes(self, main: Tensor, auxiliary: Tensor | None, rows: Tensor) -> Tensor:
        loss = self._loss(main, rows)
        if auxiliary is not None and self.network.auxiliary:
            loss = loss + self.network.auxiliary * self._loss(auxiliary, rows)
        return loss

    def _doubt(self, logits: Tensor, covered: Tensor) -> tuple[Tensor, Tensor]:
        """Divergence and confidence, the means over covered pixels."""
        stride = self.network.loss_stride
        at_pixels = sample_logits(logits.float(), (covered.shape[-2], covered.shape[-1]), stride)
        inside = at_pixels.movedim(1, -1)[covered[:, ::stride, ::stride]]
        divergence = divergence_to_uniform(inside, self.network.divergence, self.network.temperature)
        return divergence.mean(), inside.detach().softmax(1).amax(1).mean()

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """One step of both optimisers.

        Raises:
            AnomsegError: The flow has diverged.
            DivergenceError: The network has.
        """
        del index
        terms = self.terms(batch)
        if not torch.isfinite(terms.bits):
            raise self._diverged(f"its bits per dimension became {terms.bits.item()}")
        loss = terms.classes + self.network.weight * terms.divergence
        if not torch.isfinite(loss):
            raise DivergenceError(f"the loss became {loss.item()} at step {self.global_step}")
        of_network, of_flow = self.optimizers()  # type: ignore[attr-defined] # there are two
        of_network.zero_grad()
        of_flow.zero_grad()
        self.manual_backward(loss + terms.bits)
        for part, bound in ((self.segmenter, self.clip), (self.flow, self.flow_trainer.clip)):
            if bound:
                nn.utils.clip_grad_norm_(part.parameters(), bound)
        of_network.step()
        # Lightning counts the steps of optimisers that it wraps; a step of both is one.
        of_flow.optimizer.step()
        for schedule in self.lr_schedulers():  # type: ignore[union-attr] # there are two
            schedule.step()
        self.log("train_loss", loss, prog_bar=True)
        told = {"classes": terms.classes, "divergence": terms.divergence, "bits": terms.bits}
        self.log_dict({**told, "sample_confidence": terms.confidence})
        return loss.detach()

    def validation_step(self, batch: Sample, index: int) -> None:
        """Figures of one clean image; of the first `WATCHED` also what the network makes of samples.

        ``val_loss`` is what the network is trained to lower, the divergence on samples included; its parts are
        ``val_classes`` and ``val_divergence``. ``val_sample_confidence`` and ``val_confidence`` are the mean largest
        softmax probability on samples and on the clean image, ``val_bits`` and ``val_sample_bits`` the bits per
        dimension of data and of samples.
        """
        super().validation_step(batch, index)
        if index >= WATCHED:
            return
        with torch.random.fork_rng(self._cuda_devices()):
            # The same latents, sizes and places in each validation.
            torch.manual_seed(self.seed * 1_000_003 + index)
            self._watch(batch["image"], batch["rows"])

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _watch(self, images: Tensor, rows: Tensor) -> None:
        own = (images.shape[-2], images.shape[-1])
        if self.network.paste:
            fitting = [side for side in self.sides if side <= min(own)] or list(self.sides)
            samples = self.samples(len(images), draw_size(fitting))
            pasted = paste(images, samples)
        else:
            samples = self.samples(len(images), own)
            pasted = PastedPatches(samples, torch.ones_like(rows, dtype=torch.bool), images)
        clean, odd = self._logits({"image": images})[0], self._logits({"image": pasted.images})[0]
        divergence, confidence = self._doubt(odd, pasted.covered)
        self.tell("val_divergence", divergence)
        self.tell("val_sample_confidence", confidence)
        self.tell("val_confidence", self._doubt(clean, rows > 0)[1] if (rows > 0).any() else 0.0)
        self.tell("val_bits", self.bits(pasted.content).mean())
        self.tell("val_sample_bits", self.bits(samples.mul(255).round().div(255)).mean())
        self.pictures.keep(pasted)

    def on_validation_epoch_end(self) -> None:
        """Log the figures, and write samples beside data and pasted crops."""
        self._add_divergence()
        super().on_validation_epoch_end()
        with torch.random.fork_rng(self._cuda_devices()):
            torch.manual_seed(self.seed)
            side = self.sides[len(self.sides) // 2]
            own = self.pictures.size
            samples = self.samples(8, (side, side) if self.network.paste or own is None else own)
        if self.trainer.is_global_zero:
            self.pictures.write(self.trainer.default_root_dir, self.trainer.global_step, samples)

    def _add_divergence(self) -> None:
        """Tell the whole loss: the divergence is known of the watched images alone, the classes of all."""
        total, count = self._sums["val_loss"]
        divergence, watched = self._sums["val_divergence"]
        self._sums["val_classes"] = total, count
        self._sums["val_loss"] = total + self.network.weight * divergence / watched * count, count

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the learning rates that the states of optimisers and schedules belong to."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[FLOW_RATE] = self.flow_trainer.learning_rate

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on at this run's learning rates where they are others."""
        network, flow = (_part(checkpoint, number) for number in (0, 1))
        super().on_load_checkpoint({**checkpoint, **network})
        before, now = checkpoint.get(FLOW_RATE, 0.0), self.flow_trainer.learning_rate
        if before and before != now:
            scale_rates(flow, now / before)


def _passed_on(loss: Tensor, read: Tensor, samples: Tensor) -> Tensor:
    """A loss of samples that were read, as one that also moves what made them; its value stays.

    Args:
        loss: A scalar.
        read: The samples without what made them; a leaf.
        samples: The same with it.
    """
    slope = torch.autograd.grad(loss, read, retain_graph=True)[0]
    along = (samples * slope).sum()
    return loss + (along - along.detach())


def _part(checkpoint: dict[str, Any], number: int) -> dict[str, Any]:
    """The states of one optimiser and its schedule; the states themselves are no copies."""
    return {key: list(checkpoint[key])[number : number + 1] for key in ("optimizer_states", "lr_schedulers")}
