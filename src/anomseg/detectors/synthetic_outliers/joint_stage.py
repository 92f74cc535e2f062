"""The stage ``joint_outliers``: a network and a flow learn from each other; the network is written as a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from anomseg.detectors.saved import check_writable, save_detector
from anomseg.detectors.synthetic_outliers.detector import SyntheticOutliers
from anomseg.detectors.synthetic_outliers.flow import RealNVP, flow_meta, load_flow, save_flow
from anomseg.detectors.synthetic_outliers.flow_data import require_inliers
from anomseg.detectors.synthetic_outliers.joint_module import JointModule
from anomseg.detectors.synthetic_outliers.joint_options import FlowTrainerConfig, JointConfig
from anomseg.detectors.synthetic_outliers.pasting import sides_between
from anomseg.detectors.trained import trained_on
from anomseg.errors import ConfigError
from anomseg.segmenters import Segmenter
from anomseg.segmenters.trainable import MaskSupervision
from anomseg.training.base_module import TrainingModule
from anomseg.training.label_table import TaughtClasses
from anomseg.training.network import start_of, trained_network
from anomseg.training.options import NetworkConfig
from anomseg.training.recipe import Recipe, StageConfig, configure
from anomseg.training.segmentation import SegmentationStage

FLOW = "flow"
"""Folder, in the stage's own, of the flow as joint training leaves it: no detector carries it."""


class JointOutliersStage(SegmentationStage):
    """Trains the network of `SyntheticOutliers` together with a flow.

    Both are trained before: by earlier stages that it takes, or they are named by ``module.start`` and
    ``module.flow``. With ``module.encoder_start`` only the network's encoder is, and the rest of it learns its classes
    here. Its options are a segmentation stage's and those of `JointConfig`.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    network: JointConfig
    network_config: ClassVar[type[NetworkConfig]] = JointConfig

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        super().__init__(recipe, config)
        self.flow_trainer = configure(
            FlowTrainerConfig, self.network.flow_trainer, f"{config.name}.module.flow_trainer"
        )
        if config.gives != "detector":
            raise ConfigError(f"{self.name} gives a detector; write gives: detector")
        if self.optimiser.precision.startswith("16"):
            # Their scaled gradients would need a scaler for each of two optimisers.
            raise ConfigError(
                f"{self.name}.trainer.precision: a flow cannot learn in float16; choose bf16-mixed or 32-true"
            )
        taken = {stage.name: stage for stage in recipe.stages if stage.name in config.takes}
        self._network_stage = self._only([name for name, stage in taken.items() if stage.gives == "segmenter"], "start")
        self._flow_stage = self._only([name for name, stage in taken.items() if stage.gives == "flow"], "flow")
        strangers = set(taken) - {self._network_stage, self._flow_stage}
        if strangers:
            raise ConfigError(
                f"{self.name} takes a stage that gives a segmenter and one that gives a flow, not {min(strangers)}"
            )
        require_inliers(self.data.labelled, self.name)
        if self._flow_stage:
            flow_data = taken[self._flow_stage].data
            read = [str(one.get("benchmark")) for one in flow_data.get("sources", ())]
            self._check_held_out(flow_data.get("held_out", ()), read, f"add --stages.{self._flow_stage}.data.held_out")
        crop = self.data.labelled.augment.crop
        if self.network.paste and max(self.network.sizes) > min(crop):
            raise ConfigError(
                f"{self.name}.module.sizes: patches of {max(self.network.sizes)} do not fit on crops of {list(crop)}"
            )
        self._paths: Mapping[str, Path] = {}
        self._flow: RealNVP | None = None

    def _only(self, names: list[str], option: str) -> str | None:
        given = getattr(self.network, option) or (option == "start" and self.network.encoder_start)
        if len(names) > 1 or (names and given):
            raise ConfigError(f"{self.name}.module.{option}: {names[0]} gives it already; leave one of them out")
        return names[0] if names else None

    def _check_held_out(self, held_out: Sequence[str], read: Sequence[str], mend: str) -> None:
        """Refuse a flow that was shown the classes that are held out here, by images of the same data set."""
        ours = self.data.labelled
        if ours.config.held_out and {source.benchmark for source in ours.sources} & set(read):
            shown = set(TaughtClasses(ours.config.space, held_out).names) - set(ours.taught.names)
            if shown:
                raise ConfigError(
                    f"{self.name} holds out {min(shown)}, which its flow learns from images; {mend} "
                    f"'[{', '.join(ours.config.held_out)}]'"
                )

    def check(self) -> None:
        """Find the data, the network and the flow, before any training starts."""
        missing = [
            (option, what)
            for option, stage, what in (("start", self._network_stage, "network"), ("flow", self._flow_stage, "flow"))
            if not (stage or getattr(self.network, option) or (option == "start" and self.network.encoder_start))
        ]
        for option, what in missing:
            raise ConfigError(
                f"{self.recipe.name} begins with a {what} that is trained already: add "
                f"--stages.{self.name}.module.{option} DIR"
                + (f", or --stages.{self.name}.module.encoder_start FILE" if option == "start" else "")
            )
        if self.network.start or self.network.encoder_start:
            self._segmenter()
        if self.network.flow:
            self._sides(load_flow(self.network.flow))
            record = (flow_meta(self.network.flow).get("fitted_on") or {}).get("training") or {}
            self._check_held_out(
                record.get("held_out", {}).get("classes", ()),
                [name.partition("/")[0] for name in record.get("data", {})],
                f"{self.network.flow} must be trained with --stages.flow.data.held_out",
            )
        self.data.check()

    def _segmenter(self) -> Segmenter:
        start = self.network.start or (str(self._paths[self._network_stage]) if self._network_stage else "")
        if start:
            segmenter = trained_network(start, self.name, self.data.taught, self.network.network)
        else:
            segmenter = super()._segmenter()
        if isinstance(segmenter, MaskSupervision):
            raise ConfigError(f"{self.name} trains per-pixel networks; {segmenter.registry_name} has queries")
        return segmenter

    def _sides(self, flow: RealNVP) -> list[int]:
        """The sides that patches may have.

        Raises:
            ConfigError: There is none, or the flow cannot draw whole crops.
        """
        if not self.network.paste:
            flow.check_size(self.data.labelled.augment.crop)
        return sides_between(self.network.sizes, flow.divisor) if self.network.paste else [flow.divisor]

    def _origin(self, segmenter: Segmenter) -> dict[str, Any]:
        told = start_of(self.network, segmenter)
        if self._network_stage:
            frozen = self.network.freeze_encoder
            told["start"] = {"name": self._network_stage, "sha256": segmenter.fingerprint(), "frozen_encoder": frozen}
        return {**self.data.labelled.withheld(), **told}

    def _module(self, segmenter: Segmenter, weights: Tensor) -> TrainingModule:
        self._flow = load_flow(self.network.flow or self._paths[self._flow_stage or ""])
        return JointModule(
            segmenter,
            self._flow,
            self._sides(self._flow),
            self.data.table.sets,
            weights,
            self.network,
            self.optimiser,
            self.flow_trainer,
            self.recipe.seed,
            self.network.freeze_encoder,
        )

    def train(self, folder: Path, taken: Mapping[str, Path], quiet: bool) -> tuple[Segmenter, dict[str, Any]]:
        """The trained network, and the record of its training; the flow is left in the stage's folder."""
        self._paths = taken
        segmenter, summary = super().train(folder, taken, quiet)
        names = ("divergence", "weight", "temperature", "detached", "paste", "sizes")
        summary = {**summary, "joint": {name: getattr(self.network, name) for name in names}}
        assert self._flow is not None  # noqa: S101 - it was trained beside
        save_flow(self._flow.cpu().eval(), folder / FLOW, {"training": summary})
        return segmenter, summary

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`."""
        check_writable(out)
        return super().run(folder, out, taken=taken, quiet=quiet)

    def write(self, segmenter: Segmenter, out: Path, summary: dict[str, Any]) -> None:
        """Write the detector, its network in float32 or rounded to ``half``, as a segmenter is."""
        if self.network.half:
            segmenter.half().float()
        detector = SyntheticOutliers.of(segmenter)
        frames = self.data.labelled.training_frames()
        detector.fitted_on = trained_on(SyntheticOutliers.registry_name, frames, segmenter, summary)
        save_detector(detector, out)
