"""Detectors with a comparator: SynthCP in volumes, and the same without a rendering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from anomseg.detectors.options import one_of, whole_or_zero
from anomseg.detectors.synthcp.carried import packed, unpacked
from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparator_saved import rebuild_comparator
from anomseg.detectors.synthcp.generator import SPADEGenerator, one_hot_layout, rebuild_generator
from anomseg.detectors.synthcp.volumes.base import Judgement, VolumeDetector
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting
from anomseg.detectors.synthcp.volumes.slices import expected_size, volume_dice, with_neighbours
from anomseg.errors import CompatibilityError

Against = Literal["rendering", "difference"]
AGAINST = ("rendering", "difference")
_SLICES = 16


def render(generator: SPADEGenerator, layout: Tensor) -> Tensor:
    """The CT that a mask would have.

    Args:
        generator: Of slices or of volumes, one channel.
        layout: ``(C, D, H, W)`` shares; the class with the largest one is rendered.

    Returns:
        ``(D, H, W)`` in [-1, 1].
    """
    hard = one_hot_layout(layout.argmax(0)[None], len(layout))[0]
    if generator.spatial_dims == 3:
        return generator(hard[None])[0, 0]
    return torch.cat([generator(part)[:, 0] for part in hard.transpose(0, 1).split(_SLICES)])


def comparator_batch(
    image: Tensor, layout: Tensor, rendering: Tensor | None, dims: int, reach: int, against: Against
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a comparator reads of a case.

    Args:
        image: ``(D, H, W)`` in [-1, 1].
        layout: ``(C, D, H, W)``.
        rendering: As the image; None where none is compared with.
        dims: 2 makes a batch of all slices, 3 one volume.
        reach: Of slices: neighbours to either side, as channels of image and rendering.
        against: The second branch sees the rendering, or half of image less rendering.

    Returns:
        Prediction, image and rendering: ``(D, C, H, W)`` and ``(D, 2 * reach + 1, H, W)``, or ``(1, C, D, H, W)`` and
        ``(1, 1, D, H, W)``.
    """
    if rendering is not None and against == "difference":
        rendering = (image - rendering) / 2
    if dims == 3:
        return layout[None], image[None, None], None if rendering is None else rendering[None, None]
    other = None if rendering is None else with_neighbours(rendering, reach)
    return layout.transpose(0, 1), with_neighbours(image, reach), other


class ComparatorDetector(VolumeDetector):
    """Predicts Dice with a comparator on the CT and the mask, and on the mask's rendering where there is a generator.

    In two dimensions every slice is judged by itself, its neighbours beside it, and the volume's Dice is the mean of
    the slices' weighed by predicted and expected true size, see `volume_dice`. In three, the volume is judged whole.

    Args:
        setting: Classes, targets and grid.
        comparator: In evaluation mode.
        generator: Renders masks; None where none is compared with.
        reach: Of slices, see `comparator_batch`.
        against: What the second branch sees.

    Raises:
        CompatibilityError: The networks do not fit each other or the setting.
    """

    def __init__(
        self,
        setting: VolumeSetting,
        comparator: Comparator,
        generator: SPADEGenerator | None,
        reach: int = 1,
        against: Against = "rendering",
    ) -> None:
        super().__init__(setting)
        self.comparator, self.generator = comparator, generator
        one_of("against", against, AGAINST)
        self.reach, self.against = whole_or_zero("reach", reach), against
        check_networks(setting, comparator, generator, reach)

    def judge(self, prepared: PreparedCase) -> Judgement:
        """Render, compare, and put the slices together."""
        return self.compare(prepared, None if self.generator is None else render(self.generator, prepared.layout))

    def compare(self, prepared: PreparedCase, rendering: Tensor | None) -> Judgement:
        """The same with the mask rendered already, ``(D, H, W)``."""
        batch = comparator_batch(
            prepared.image, prepared.layout, rendering, self.comparator.spatial_dims, self.reach, self.against
        )
        quality, right = self._compare(*batch)
        if self.comparator.spatial_dims == 3:
            return Judgement(quality[0], 1 - right[0], rendering)
        targets = prepared.layout[self.setting.indices].transpose(0, 1)
        sizes = targets.sum((-2, -1)), expected_size(targets, right[:, None].expand_as(targets))
        return Judgement(volume_dice(quality, *sizes), 1 - right, rendering)

    def _compare(self, layout: Tensor, image: Tensor, rendering: Tensor | None) -> tuple[Tensor, Tensor]:
        """Dice ``(N, T)`` in [0, 1], and the chance ``(N, *S)`` that a voxel is right."""
        found = []
        for rows in torch.arange(len(layout)).split(_SLICES):
            other = None if rendering is None else rendering[rows]
            quality, confidence = self.comparator(layout[rows], image[rows], other)
            found.append((quality[:, self.setting.indices].clamp(0, 1), confidence.sigmoid()))
        return torch.cat([one for one, _ in found]), torch.cat([one for _, one in found])

    def options(self) -> dict[str, Any]:
        """Reach and what is compared with."""
        return {"reach": self.reach, "against": self.against}

    def state(self) -> dict[str, Tensor]:
        """Both networks."""
        generator = {} if self.generator is None else packed("generator", self.generator)
        return {**packed("comparator", self.comparator), **generator}

    @classmethod
    def rebuild(
        cls, setting: VolumeSetting, options: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> ComparatorDetector:
        """See `VolumeDetector.rebuild`."""
        comparator = unpacked("comparator", state, rebuild_comparator, cls.registry_name)
        generator = unpacked("generator", state, rebuild_generator, cls.registry_name)
        if comparator is None:
            raise CompatibilityError(f"{cls.registry_name} carries no comparator; train it again")
        return cls(setting, comparator, generator, **options)


class SynthCPVolume(ComparatorDetector):
    """SynthCP: CT, mask, and the CT that the mask is rendered as, compared."""

    registry_name = "synthcp_volume"

    def __init__(
        self,
        setting: VolumeSetting,
        comparator: Comparator,
        generator: SPADEGenerator | None,
        reach: int = 1,
        against: Against = "rendering",
    ) -> None:
        super().__init__(setting, comparator, generator, reach, against)
        if generator is None:
            raise CompatibilityError(
                "synthcp_volume compares with a rendering and carries no generator; train it again"
            )


class DirectVolume(ComparatorDetector):
    """The baseline that looks at CT and mask alone."""

    registry_name = "direct_volume"


def check_networks(
    setting: VolumeSetting, comparator: Comparator, generator: SPADEGenerator | None, reach: int
) -> None:
    """Refuse networks that do not fit each other or the setting.

    Raises:
        CompatibilityError: They do not.
    """
    dims, size = comparator.spatial_dims, setting.grid.size
    channels = 1 if dims == 3 else 2 * reach + 1
    if comparator.classes != len(setting.classes) or comparator.channels != channels:
        raise CompatibilityError(
            f"the comparator reads {comparator.classes} classes and {comparator.channels} channels, and "
            f"{len(setting.classes)} and {channels} are there; train it again"
        )
    if comparator.needs_rendering != (generator is not None):
        raise CompatibilityError(
            "the comparator compares with a rendering, and there is no generator"
            if generator is None
            else "the comparator sees no rendering, and there is a generator"
        )
    if generator is None:
        return
    wanted = size[-generator.spatial_dims :]
    if generator.classes != len(setting.classes) or generator.channels != 1 or generator.size != wanted:
        raise CompatibilityError(
            f"the generator renders {generator.classes} classes in {generator.channels} channels of "
            f"{list(generator.size)}, and {len(setting.classes)} classes in one of {list(wanted)} are needed"
        )
