"""The stage ``student``: trains a student on a teacher's features, and writes both as a detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomseg.detectors.dicnet.detector import DiCNet, odd
from anomseg.detectors.dicnet.module import StudentModule
from anomseg.detectors.dicnet.target import (
    NORMS,
    PREFERRED,
    Target,
    TeacherNorm,
    distilled_feature,
    norm_of,
    target_from_maps,
    target_from_norm,
)
from anomseg.detectors.features import AUTO
from anomseg.detectors.options import not_negative, one_of
from anomseg.detectors.saved import check_writable, save_detector
from anomseg.detectors.trained import trained_on
from anomseg.errors import ConfigError, unknown_name
from anomseg.files import sha256_of_file
from anomseg.scores.discrepancy import DISTANCES, Distance
from anomseg.segmenters import Segmenter, load_segmenter
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.student import Encoder, Student
from anomseg.training.base_module import FEATURES
from anomseg.training.data_of_stage import StageData
from anomseg.training.loop import run_training
from anomseg.training.network import encoder_checkpoint
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure

CROPS_FOR_SCALE = 200


@dataclass(frozen=True)
class StudentConfig:
    """What a student is, and what it learns.

    Attributes:
        teacher: A saved segmenter; not given where an earlier stage trains it or has computed its features.
        feature: The teacher's feature map; ``auto`` is the one before the classifier, without its activation if it can
            be had.
        teacher_norm: ``standardized``, ``affine`` or ``none``, see `DiCNet`.
        distance: What is learned: ``mse``, ``cosine``, ``smooth_l1`` or ``max``.
        score: The distance by which the detector scores; that of the training where not given.
        activated: Whether the detector compares after the teacher's ReLU, see `DiCNet`; the loss does not.
        smooth: Side of the neighbourhood over which the detector averages, see `DiCNet`.
        by_place: Whether, and over how many cells, the detector learns what is usual at each place, see `DiCNet`: after
            the training, of its images as they are, without augmentation.
        encoder: The student's encoder, see `Student`.
        width: Channels of its stem.
        branch: Channels of its pooling.
        hidden: Channels before its last convolution, see `Student`.
        encoder_start: A checkpoint that its encoder starts from instead of random weights.
        attached: The detector does not carry the teacher; it scores the network that is given beside it.
    """

    teacher: str | None = None
    feature: str = AUTO
    teacher_norm: TeacherNorm = "standardized"
    distance: Distance = "mse"
    score: Distance | None = None
    activated: bool = False
    smooth: int = 1
    by_place: float = 0.0
    encoder: Encoder = "resnet34"
    width: int = 64
    branch: int = 512
    hidden: int = 0
    encoder_start: str | None = None
    attached: bool = False

    def __post_init__(self) -> None:
        one_of("teacher_norm", self.teacher_norm, NORMS)
        one_of("distance", self.distance, DISTANCES)
        if self.score is not None:
            one_of("score", self.score, DISTANCES)
        odd(self.smooth)
        not_negative("by_place", self.by_place)


class StudentStage:
    """Distils one feature map of a teacher into a student.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name, self.takes = recipe, config.name, config.takes
        self.config = configure(StudentConfig, config.module, f"{config.name}.module")
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{config.name}.trainer")
        self.data = StageData(recipe, config)
        if config.gives != "detector":
            raise ConfigError(f"{self.name} gives a detector; write gives: detector")
        if config.takes and self.config.teacher:
            raise ConfigError(f"{self.name}.module.teacher: its teacher comes from {config.takes[0]}; leave one out")
        if self.data.cached and not self._cached("images"):
            raise ConfigError(
                f"{self.name}: a student sees the image; set {self.data.features_stage.name}.module.images: true"  # type: ignore[union-attr] # cached
            )
        if self.data.cached:
            self.data.require_layers([self._cached_feature()], "its student")
        least = self._student(1).least_crops
        if self.data.batch_size < least:
            raise ConfigError(
                f"{self.name}.data: a {self.config.encoder} student normalises over the crops of a step; batch_size "
                f"must be at least {least}"
            )

    def _cached(self, key: str) -> Any:
        return self.data.features_stage.module.get(key) if self.data.features_stage is not None else None

    def _cached_feature(self) -> str:
        layers = self.data.layers
        if self.config.feature != AUTO or not layers:
            return self.config.feature
        return next((name for name in PREFERRED if name in layers), layers[-1])

    def _student(self, channels: int) -> Student:
        torch.manual_seed(self.recipe.seed)
        config = self.config
        return Student(channels, None, config.encoder, config.width, config.branch, config.hidden)

    def check(self) -> None:
        """Find the data, the teacher and what the student starts from, before any stage starts."""
        self.data.check()
        if not (self.takes or self.config.teacher):
            raise ConfigError(
                f"{self.recipe.name} distils a network that is trained already: add "
                f"--stages.{self.name}.module.teacher DIR"
            )
        if self.config.teacher:
            self._feature_of(load_segmenter(self.config.teacher))
        if self.config.encoder_start:
            self._start(self._student(1))

    def _start(self, student: Student) -> dict[str, Any]:
        start = self.config.encoder_start
        if not start:
            return {}
        path = encoder_checkpoint(start)
        student.load_encoder(load_checkpoint(path), start)
        return {"encoder": {"file": path.name, "sha256": sha256_of_file(path), "frozen": False}}

    def _feature_of(self, teacher: Segmenter) -> str:
        """The feature to learn.

        Raises:
            ConfigError: The teacher has none by that name; the nearest one is suggested.
        """
        name = self._cached_feature() if self.data.cached else self.config.feature
        name = (distilled_feature(teacher) or AUTO) if name == AUTO else name
        if name not in teacher.feature_info:
            raise unknown_name(f"feature of {teacher.registry_name}", name, teacher.feature_info)
        return name

    def _target(self, teacher: Segmenter, feature: str) -> Target:
        norm = norm_of(teacher, feature)
        if norm is not None:
            return target_from_norm(norm, self.config.teacher_norm)
        channels = teacher.feature_info[feature].channels
        return target_from_maps(channels, self._training_maps(teacher, feature), self.config.teacher_norm)

    def _training_maps(self, teacher: Segmenter, feature: str) -> Iterator[Tensor]:
        crops = self.data.crops()
        with torch.no_grad():
            for index in range(CROPS_FOR_SCALE):
                sample = crops[index]
                if self.data.cached:
                    yield sample[FEATURES + feature].float()
                else:
                    yield teacher.feature_maps(sample["image"][None], (feature,))[feature][0]

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`."""
        check_writable(out)
        self.data.bind(taken)
        teacher = load_segmenter(self.config.teacher) if self.config.teacher else self.data.host()
        assert teacher is not None  # noqa: S101 - check() has seen to it
        before = teacher.eval().fingerprint()
        feature = self._feature_of(teacher)
        target = self._target(teacher, feature)
        student = self._student(teacher.feature_info[feature].channels)
        origin = self._start(student)
        if self.optimiser.channels_last:
            student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module = StudentModule(
            student,
            None if self.data.cached else teacher,
            feature,
            target,
            self.config.distance,
            self.optimiser,
            self.recipe.seed,
        )
        result = run_training(
            module,
            self.data.crops(),
            self.data.validation(teacher),
            folder=folder,
            batch_size=self.data.batch_size,
            workers=self.data.workers,
            quiet=quiet,
        )
        assert teacher.cpu().fingerprint() == before, "the teacher was changed"  # noqa: S101 - a defect of ours
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **result,
            "target": target.said,
            "parameters": parameter_count(student),
            **self.data.record(),
            **origin,
        }
        self._write(teacher, student, feature, target, summary, out)
        return summary

    def _write(
        self,
        teacher: Segmenter,
        student: Student,
        feature: str,
        target: Target,
        summary: Mapping[str, Any],
        out: Path,
    ) -> None:
        detector = DiCNet.of(
            teacher,
            student.cpu().to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            feature,
            target,
            teacher_norm=self.config.teacher_norm,
            distance=self.config.score or self.config.distance,
            activated=self.config.activated,
            smooth=self.config.smooth,
            by_place=self.config.by_place,
            attached=self.config.attached,
        )
        frames = self.data.labelled.training_frames()
        detector.fitted_on = trained_on(DiCNet.registry_name, frames, teacher, summary)
        if detector.needs_fit:
            detector.fit(teacher, frames)
        save_detector(detector, out)


def parameter_count(network: Segmenter) -> int:
    """Numbers that a network has learned."""
    return sum(parameter.numel() for parameter in network.parameters())
