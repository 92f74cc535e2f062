"""The detector ``dicnet``: how far a student's guess of a teacher's feature is from that feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg.detectors.base import Detector, Progress
from anomseg.detectors.dicnet.places import PlaceMoments, Places
from anomseg.detectors.dicnet.resizing import aligned_resize, on_grid
from anomseg.detectors.dicnet.target import NORMS, Target, TeacherNorm, distilled_feature
from anomseg.detectors.features import AUTO
from anomseg.detectors.fitting import FitLog, digest_of
from anomseg.detectors.options import not_negative, one_of
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.scores import feature_discrepancy
from anomseg.scores.discrepancy import DISTANCES, Distance, smoothed, stretched
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.segmenters.student import Student
from anomseg.types import Flags, Frame, Needs

STUDENT, TEACHER = "student", "teacher"
CHANNELS, PLACES = ("scale", "shift"), ("place_mean", "place_deviation")
Normalise = Literal["none", "image"]


class DiCNet(Detector):
    """Distillation-comparison network (Zhou et al., arXiv 2112.09908): ``1/C sum_c (T_c - S_c)^2``.

    T is a feature map of a trained segmenter, the teacher, S the guess of a student that has learned to give the same
    on known scenes. The teacher's classifier takes no part. A detector comes out of a training, see `DiCNet.of` for
    networks at hand.

    Args:
        feature: The teacher's feature map that the student has learned. ``"auto"`` is the one before the classifier,
            without its activation where the network names that; a trained detector has its name.
        teacher_norm: What was taken off that feature before it was compared: ``"standardized"``, the publication's
            intent, brings every channel to mean 0 and deviation 1; ``"affine"``, what its code does, takes the batch
            norm's output; ``"none"``, what goes into the batch norm. It belongs to a training, and is not changed
            afterwards.
        distance: ``"mse"`` as published, ``"cosine"``, ``"smooth_l1"`` or ``"max"``, see `feature_discrepancy`. It may
            differ from the one of the training.
        activated: Compare teacher and student after the ReLU that follows the teacher's batch norm, on its own scale:
            what the classifier reads. Channels that both keep silent then count as agreement. Ours.
        smooth: Side of the neighbourhood, in cells, over which the discrepancy is averaged; odd, 1 for none. Ours.
        by_place: Give the logarithm of the discrepancy, in deviations from what is usual at the same place of
            in-distribution images, which `fit` estimates; the number is the reach, in cells, of the Gaussian that
            averages over neighbouring places, 0 for none of this. Ours.
        align_corners: From cells to pixels as published; false is the way other detectors do it.
        normalise: ``"image"`` stretches each map to [0, 1], as the published code does: figures pooled over images
            then mean little.
        attached: It scores the network that is given, which must be its teacher, and so shares its pass with other
            detectors; else it carries its teacher.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "dicnet"
    flags: ClassVar[Flags] = Flags(owns_network=True)
    reads_head: ClassVar[bool] = False

    def __init__(
        self,
        feature: str = AUTO,
        teacher_norm: TeacherNorm = "standardized",
        distance: Distance = "mse",
        activated: bool = False,
        smooth: int = 1,
        by_place: float = 0.0,
        align_corners: bool = True,
        normalise: Normalise = "none",
        attached: bool = False,
    ) -> None:
        super().__init__()
        self.feature = feature
        self.teacher_norm = one_of("teacher_norm", teacher_norm, NORMS)
        self.distance: Distance = one_of("distance", distance, DISTANCES)
        self.activated, self.smooth = activated, odd(smooth)
        self.by_place = not_negative("by_place", by_place)
        self.align_corners = align_corners
        self.normalise = one_of("normalise", normalise, ("none", "image"))
        self.attached = attached
        self.flags = replace(type(self).flags, owns_network=not attached)  # type: ignore[misc] # an option decides
        self._networks: dict[str, Segmenter] = {}
        self._target: Target | None = None
        self._places: Places | None = None

    @classmethod
    def of(cls, teacher: Segmenter, student: Student, feature: str, target: Target, **options: Any) -> Self:
        """A detector of networks at hand.

        Args:
            teacher: The network whose feature was learned; kept unless ``attached``.
            student: The network that has learned it.
            feature: Name of the feature.
            target: What was learned of it.
            **options: Further options of the constructor.

        Raises:
            CompatibilityError: Feature, target and student do not fit each other.
        """
        detector = cls(feature, **options)
        detector.load_state({"scale": target.scale, "shift": target.shift})
        detector.load_networks({STUDENT: student} | ({} if detector.attached else {TEACHER: teacher}))
        detector.segmenter_identity = teacher.identity()
        detector.needs(teacher)
        return detector

    @property
    def segmenter(self) -> Segmenter | None:  # type: ignore[override] # an option decides
        """The teacher that it carries; None where it is attached."""
        return self._networks.get(TEACHER)

    @property
    def student(self) -> Student | None:
        """The student; None before training."""
        network = self._networks.get(STUDENT)
        return network if isinstance(network, Student) else None

    @property
    def needs_fit(self) -> bool:
        """Whether it must see what is usual at each place."""
        return self.by_place > 0

    @property
    def is_trained(self) -> bool:
        """Whether it came out of a training."""
        return self.student is not None and self._target is not None

    @property
    def is_fitted(self) -> bool:
        """Whether it came out of a training, and has seen what is usual at each place where it asks for that."""
        return self.is_trained and (not self.needs_fit or self._places is not None)

    def require_fitted(self) -> None:
        """Refuse to go on without a student, or without what is usual at each place."""
        self._require_student()
        if not self.is_fitted:
            raise CompatibilityError(
                "dicnet with by_place has not seen what is usual at each place; train it with "
                "--stages.student.module.by_place 8, or call its fit with in-distribution frames"
            )

    def _require_student(self) -> None:
        if not self.is_trained:
            raise CompatibilityError(
                "dicnet has no student; run 'anomseg train camvid-dicnet ...' and give the directory that it writes"
            )

    @property
    def bounded(self) -> bool:
        """Whether maps are stretched to [0, 1]."""
        return self.normalise == "image"

    @property
    def forward_passes(self) -> int:
        """The teacher's, shared with other detectors where it is attached; the student's is counted in ``card``."""
        return 1

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Estimate how large a discrepancy is usual at each place; see `Detector.fit`. The student stays as it is.

        Raises:
            CompatibilityError: It has no student, or ``by_place`` is 0, so that there is nothing to estimate.
            DataError: Fewer than two frames could be used.
        """
        if not self.needs_fit:
            raise CompatibilityError("dicnet without by_place needs no fitting beside its training; use it as it is")
        self._require_student()
        network = self.segmenter or segmenter
        self.needs(network)
        moments = PlaceMoments()

        def use(frame: Frame, scene: Scene) -> None:
            with torch.no_grad():
                found = self.discrepancy(scene)[0]
            if not bool(found.isfinite().all()):
                raise FrameError(f"{frame.id}: the networks' features hold values that are not finite")
            moments.update(found)

        log = FitLog(self.registry_name)
        log.run(network, frames, use, size=size, progress=progress)
        seen = log.record(network)
        self._places = moments.places(self.by_place)
        self.segmenter_identity = seen["segmenter"]
        self.fitted_on = together(self.fitted_on, seen)
        return self

    def state(self) -> dict[str, Tensor]:
        """Scale and shift of the teacher's channels, ``(C,)`` float32 each; what is usual by place, ``(h, w)`` each."""
        state = {} if self._target is None else {"scale": self._target.scale, "shift": self._target.shift}
        if self._places is not None:
            state |= dict(zip(PLACES, (self._places.mean, self._places.deviation), strict=True))
        return state

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned."""
        channels = {name: tensor for name, tensor in state.items() if name not in PLACES}
        shapes = {tuple(tensor.shape) for tensor in channels.values()}
        if state and (set(channels) != set(CHANNELS) or len(shapes) != 1 or len(shapes.pop()) != 1):
            raise CompatibilityError(f"the state of dicnet is scale and shift, a number a channel; got {sorted(state)}")
        by_place = [state[name].float() for name in PLACES if name in state]
        if len(by_place) == 1:
            raise CompatibilityError(f"the state of dicnet by place is {' and '.join(PLACES)}; got {sorted(state)}")
        self._places = Places(*by_place) if by_place else None
        self._target = Target(state["scale"].float(), state["shift"].float(), "") if state else None

    def networks(self) -> dict[str, Segmenter]:
        """``student``, and ``teacher`` unless it is attached."""
        return dict(self._networks)

    def load_networks(self, networks: Mapping[str, Segmenter]) -> None:
        """Take student and teacher; see `Detector.load_networks`."""
        wanted = {STUDENT} if self.attached else {STUDENT, TEACHER}
        student = networks.get(STUDENT)
        if set(networks) != wanted or not isinstance(student, Student):
            raise CompatibilityError(f"dicnet carries the networks {sorted(wanted)}, got {sorted(networks)}")
        if self._target is not None and len(self._target.scale) != student.channels:
            raise CompatibilityError(
                f"the student gives {student.channels} channels, and dicnet was trained with {len(self._target.scale)}"
            )
        self._networks = {role: network.eval() for role, network in networks.items()}

    def feature_name(self, segmenter: Segmenter | None) -> str | None:
        """The teacher's feature map that is compared; None where that cannot be said."""
        if self.feature != AUTO:
            return self.feature
        return distilled_feature(segmenter) if segmenter is not None else None

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """One feature map of the teacher, and no logits."""
        network = self.segmenter or segmenter
        name = self.feature_name(network)
        needs = Needs(logits=False, features=() if name is None else (name,))
        if network is None:
            return needs
        self.ask(network, needs if name is not None else Needs(logits=False, features=("bottleneck",)))
        if self._target is not None and name is not None:
            channels = network.feature_info[name].channels
            if channels != len(self._target.scale):
                raise CompatibilityError(
                    f"dicnet was trained on a feature of {len(self._target.scale)} channels, but {name!r} of this "
                    f"network has {channels}; give the teacher that it was trained with"
                )
        return needs

    def discrepancy(self, scene: Scene) -> Tensor:
        """Discrepancy ``(B, h, w)`` float32 at the teacher's cells, over the padded input; as it is at every place."""
        self._require_student()
        student, target = self.student, self._target
        assert student is not None  # noqa: S101 - fitted
        assert target is not None  # noqa: S101 - fitted
        own = self._own(scene)
        name = self.feature_name(own.segmenter)
        assert name is not None  # noqa: S101 - a trained one names it
        teacher = target.of(own.feature_maps((name,))[name])
        guess = student.to(own.images.device).distil(own.images)
        guess = on_grid(guess, teacher)
        if self.activated:
            teacher, guess = target.rectified(teacher), target.rectified(guess)
        return smoothed(feature_discrepancy(teacher, guess, self.distance), self.smooth)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        self.require_fitted()
        found = self.discrepancy(scene)
        cells = (self._places.standardised(found) if self.by_place and self._places else found)[:, None]
        own = self._own(scene)
        if self.align_corners:
            padded = (own.images.shape[-2], own.images.shape[-1])
            score = aligned_resize(cells, padded, own.input_size, own.image_size)
        else:
            score = own.resize(cells)
        score = score[:, 0].contiguous()
        return stretched(score) if self.normalise == "image" else score

    def _own(self, scene: Scene) -> Scene:
        """The scene as the teacher sees it, should another network have prepared it."""
        teacher = self.segmenter
        if teacher is None or scene.segmenter is teacher:
            return scene
        return scene.remembered(("dicnet", id(teacher)), lambda: _prepared_for(teacher, scene))

    def card(self) -> dict[str, Any]:
        """Also the passes of teacher and student."""
        return {**super().card(), "passes": {TEACHER: 1, STUDENT: 1}}


def together(trained: dict[str, Any] | None, seen: dict[str, Any]) -> dict[str, Any]:
    """What a detector was trained and then fitted on, as one record; the fit's own part stands under ``by_place``."""
    if trained is None:
        return seen
    prints = sorted({*trained["fingerprints"], *seen["fingerprints"]})
    fitted = {key: seen[key] for key in ("data", "frames", "sha256", "skipped")}
    return {**trained, "frames": len(prints), "sha256": digest_of(prints), "fingerprints": prints, "by_place": fitted}


def odd(smooth: int) -> int:
    """``smooth``, which must be odd and 1 or more: the side of a neighbourhood with a cell in its middle.

    Raises:
        ConfigError: It is not.
    """
    if smooth < 1 or smooth % 2 == 0:
        raise ConfigError(f"smooth is an odd number of cells, 1 or more, got {smooth}")
    return smooth


def _prepared_for(teacher: Segmenter, scene: Scene) -> Scene:
    height, width = scene.input_size
    images = teacher.to(scene.images.device).pad(scene.images[..., :height, :width])
    return Scene(images, scene.frame_ids, scene.image_sizes, teacher, input_size=scene.input_size)
