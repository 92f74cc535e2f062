"""Deep ensembles: what several networks, trained apart, say together (Lakshminarayanan et al., NeurIPS 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from anomseg.detectors.base import Upsample
from anomseg.detectors.passes import Average, Measure, PassesDetector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.catalog import load_segmenter, why_weightless
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs

SEPARATOR = "+"


class Ensemble(PassesDetector):
    """Several networks of the same classes; it owns them all, and a network given beside it takes no part.

    The first member is the host: its working size holds for all, it prepares the images, and its predictions are
    shown. Every member pads these images in its own way, normalises them in its own way and keeps its resolution. An
    ensemble is saved with copies of its members.

    Args:
        members: Networks, each as `load_segmenter` takes it (a saved directory, ``bundled``, ``erfnet:WEIGHTS``): one
            text with ``+`` between them, or a list. They are loaded when first needed. To build an ensemble from
            networks at hand use `Ensemble.of`.
        measure: ``"entropy"`` of the mean prediction, ``"mutual_information"``, or ``"msp"``; see `PassesDetector`.
        average: ``"probabilities"`` or ``"logits"``.
        normalized: Divide entropy and mutual information by ln C, so that they lie in [0, 1].
        upsample: ``"logits"`` brings each prediction to the image's size, as the published figures do; ``"score"``
            averages at the working size, whatever the members' resolutions, and resizes the map.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "ensemble"
    flags: ClassVar[Flags] = Flags(owns_network=True)

    def __init__(
        self,
        members: list[str] | str = "",
        measure: Measure = "entropy",
        average: Average = "probabilities",
        normalized: bool = True,
        upsample: Upsample = "logits",
        check_logits: bool = True,
    ) -> None:
        super().__init__(measure, average, normalized, upsample, check_logits)
        self.members = members
        self._networks: list[Segmenter] | None = None

    @classmethod
    def of(cls, networks: Sequence[Segmenter], **options: Any) -> Self:
        """An ensemble of networks at hand.

        Args:
            networks: At least two, of the same classes.
            **options: All but ``members``.

        Raises:
            CompatibilityError: There are too few, or their classes differ.
        """
        ensemble = cls(**options)
        ensemble.load_networks({f"member{index}": network for index, network in enumerate(networks)})
        return ensemble

    @property
    def forward_passes(self) -> int:
        """As many as there are members."""
        return len(self._names) if self._networks is None else len(self._networks)

    @property
    def segmenter(self) -> Segmenter | None:  # type: ignore[override] # members are loaded when first needed
        """The host, which is the first member; None where no members were named."""
        networks = self.networks()
        return next(iter(networks.values()), None)

    def networks(self) -> dict[str, Segmenter]:
        """The members by their roles ``member0``, ``member1``, ...; loaded now where they were named only.

        Raises:
            ConfigError: A member is unknown.
            DataError: A file of a member is missing or damaged.
            CompatibilityError: There is one member only, or their classes differ.
        """
        if self._networks is None and self._names:
            loaded = [_load(name) for name in self._names]
            _check_members(loaded, self._names)
            self._networks = loaded
        return {f"member{index}": network for index, network in enumerate(self._networks or [])}

    def load_networks(self, networks: Mapping[str, Segmenter]) -> None:
        """Take the members; see `Detector.load_networks`."""
        roles = [f"member{index}" for index in range(len(networks))]
        if set(roles) != set(networks):
            raise CompatibilityError(f"the networks of an ensemble are member0, member1, ..., got {sorted(networks)}")
        members = [networks[role] for role in roles]
        _check_members(members, [member.title or role for role, member in zip(roles, members, strict=True)])
        self._networks = members

    @property
    def _names(self) -> list[str]:
        parts = self.members.split(SEPARATOR) if isinstance(self.members, str) else self.members
        return [part.strip() for part in parts if part.strip()]

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Logits of every member; what the given network has is of no matter."""
        del segmenter
        for member in self._require_members():
            self.ask(member, Needs(logits=True))
        return Needs(logits=True)

    def _require_members(self) -> list[Segmenter]:
        members = list(self.networks().values())
        if not members:
            raise ConfigError("ensemble has no members; name networks as in ensemble:members=runs/a+runs/b")
        return members

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        return self.measured(scene, self.summarised(scene))

    def passes_over(self, scene: Scene) -> Iterator[Tensor]:
        """Yield the logits of one member after the other, at the images' own size or at the working size."""
        height, width = scene.input_size
        for member in self._require_members():
            own = scene
            if member is not scene.segmenter:
                images = member.to(scene.images.device).pad(scene.images[..., :height, :width])
                own = Scene(images, scene.frame_ids, scene.image_sizes, member, input_size=scene.input_size)
            if self.upsample == "logits":
                yield own.logits()
            else:
                yield own.output.upsample(own.output.logits.float(), scene.input_size)

    def to_image(self, scene: Scene, maps: Tensor) -> Tensor:
        """Bring maps at the working size to the images' own."""
        whole = Scene(maps, scene.frame_ids, scene.image_sizes)
        return whole.resize(maps)


def _load(name: str) -> Segmenter:
    if not Path(name).is_dir() and why_weightless(name) is not None:
        raise ConfigError(f"the member {name} of an ensemble has no weights; give a saved directory or a checkpoint")
    return load_segmenter(name)


def _check_members(members: Sequence[Segmenter], names: Sequence[str]) -> None:
    """Refuse members that cannot be averaged.

    Raises:
        CompatibilityError: There are fewer than two, or the classes of one differ from the first one's.
    """
    if len(members) < 2:
        raise CompatibilityError(f"an ensemble has two members or more, got {len(members)}")
    first = members[0].classes
    for name, member in zip(names[1:], members[1:], strict=True):
        if len(member.classes) != len(first):
            raise CompatibilityError(
                f"the members of an ensemble must share their classes: {names[0]} has {len(first)}, {name} has "
                f"{len(member.classes)}"
            )
        for index, (own, other) in enumerate(zip(first, member.classes, strict=True)):
            if own != other:
                raise CompatibilityError(
                    f"the members of an ensemble must share their classes: class {index} is {own!r} for {names[0]} "
                    f"and {other!r} for {name}"
                )
