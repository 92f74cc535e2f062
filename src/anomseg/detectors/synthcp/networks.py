"""Base of detectors that carry a generator, and perhaps a comparator, beside the network that they score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anomseg.detectors.base import Detector
from anomseg.detectors.saved import is_detector_directory, load_detector
from anomseg.detectors.synthcp.carried import packed, unpacked
from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparator_saved import load_comparator, rebuild_comparator
from anomseg.detectors.synthcp.failures import class_names
from anomseg.detectors.synthcp.generator import SPADEGenerator, load_generator, rebuild_generator
from anomseg.detectors.synthcp.records import joined
from anomseg.detectors.synthcp.rendering import generator_classes
from anomseg.errors import CompatibilityError, ConfigError

GENERATOR, COMPARATOR = "generator", "comparator"


class Synthesiser(Detector):
    """Carries a generator, and perhaps a comparator: loaded when first needed, saved as copies in the state.

    Args:
        generator: A directory of a generator, or of a saved detector that carries one (and with it its comparator);
            empty where networks come with the directory of the detector or are taken with `take`.
        comparator: A directory of a comparator, which goes before that of a saved detector; empty for none.
    """

    def __init__(self, generator: str = "", comparator: str = "") -> None:
        super().__init__()
        self.generator, self.comparator = generator, comparator
        self._generator: SPADEGenerator | None = None
        self._comparator: Comparator | None = None

    def take(self, generator: SPADEGenerator, comparator: Comparator | None = None) -> None:
        """Carry these networks, which are frozen.

        Args:
            generator: Its ``meta`` names the classes, and says what it was trained on.
            comparator: Likewise; None for none.

        Raises:
            CompatibilityError: They cannot be used for pictures, or do not name their classes.
        """
        generator_classes(generator, self.registry_name)
        if comparator is not None:
            class_names(comparator, self.registry_name)
            comparator.requires_grad_(False).eval()
        self._generator, self._comparator = generator.requires_grad_(False).eval(), comparator
        self.fitted_on = self.fitted_on or self.trained_on()

    @property
    def has_networks(self) -> bool:
        """Whether it carries or names a generator."""
        return self._generator is not None or bool(self.generator)

    def networks_at_hand(self) -> tuple[SPADEGenerator, Comparator | None]:
        """Generator and comparator, loaded now where they were named only.

        Raises:
            ConfigError: There is no generator.
            DataError: A directory holds none, or a file is missing or damaged.
            CompatibilityError: One of them cannot be used.
        """
        if self._generator is None:
            if not self.generator:
                name = self.registry_name
                raise ConfigError(
                    f"{name} has no generator; give the directory that 'anomseg train camvid-synthesis' wrote, as "
                    f"{name}:generator=DIR"
                )
            generator, comparator = _named(self.generator)
            self.take(generator, load_comparator(self.comparator) if self.comparator else comparator)
        assert self._generator is not None  # noqa: S101 - taken just now
        return self._generator, self._comparator

    def trained_on(self) -> dict[str, Any] | None:
        """The frames that generator and comparator were trained on, as one record."""
        carried = [one for one in (self._generator, self._comparator) if one is not None]
        return joined(*(one.meta.get("fitted_on") for one in carried))

    def state(self) -> dict[str, Tensor]:
        """Generator and comparator, weights and what belongs to them; empty where there are none."""
        if not self.has_networks:
            return {}
        generator, comparator = self.networks_at_hand()
        return packed(GENERATOR, generator) | ({} if comparator is None else packed(COMPARATOR, comparator))

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned.

        Raises:
            CompatibilityError: It holds no generator, or something in it is damaged.
        """
        if not state:
            return
        generator = unpacked(GENERATOR, state, rebuild_generator, self.registry_name)
        if generator is None:
            raise CompatibilityError(
                f"the state of {self.registry_name} is a generator, perhaps with a comparator; got {sorted(state)[:3]}"
            )
        self.take(generator, unpacked(COMPARATOR, state, rebuild_comparator, self.registry_name))

    def networks_card(self) -> Mapping[str, Any]:
        """What a card says of them: classes and numbers; nothing where there are none."""
        if not self.has_networks:
            return {}
        generator, comparator = self.networks_at_hand()
        told: dict[str, Any] = {GENERATOR: {**_card_of(generator), "image": list(generator.size)}}
        return told | ({} if comparator is None else {COMPARATOR: _card_of(comparator)})


def _named(folder: str) -> tuple[SPADEGenerator, Comparator | None]:
    if not is_detector_directory(folder):
        return load_generator(folder), None
    detector = load_detector(folder)
    if not isinstance(detector, Synthesiser):
        raise CompatibilityError(
            f"{folder} is a {detector.registry_name} detector, which carries no generator; give the directory of one"
        )
    return detector.networks_at_hand()


def _card_of(network: SPADEGenerator | Comparator) -> dict[str, Any]:
    count = sum(parameter.numel() for parameter in network.parameters())
    return {"classes": list(network.meta["classes"]), "parameters": count}
