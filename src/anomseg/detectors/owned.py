"""Detectors that own the one network they score, and the option by which it is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anomseg.detectors.base import Detector
from anomseg.detectors.saved import is_detector_directory, load_detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.catalog import load_segmenter, why_weightless
from anomseg.segmenters.scene import Scene

ROLE = "network"


class NetworkOwner(Detector):
    """Base of detectors that own the one network they score; subclasses say which option names it.

    The network comes from the option, from a saved directory (which goes before the option) or is put in with
    `load_networks` under the role ``network``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._network: Segmenter | None = None

    @property
    def named_network(self) -> str:
        """What the option says; empty where it names none."""
        raise NotImplementedError(f"{type(self).__name__} does not say which network it owns")

    def accept(self, network: Segmenter) -> None:
        """Refuse a network that cannot be owned.

        Raises:
            CompatibilityError: It lacks something.
        """

    @property
    def segmenter(self) -> Segmenter | None:  # type: ignore[override] # loaded when first needed
        """The network that it owns; None where none was named."""
        return self.networks().get(ROLE)

    def networks(self) -> dict[str, Segmenter]:
        """The network, under the role ``network``; loaded now where it was named only.

        Raises:
            ConfigError: The name is unknown.
            DataError: A file is missing or damaged.
            CompatibilityError: The network cannot be owned.
        """
        if self._network is None and self.named_network:
            network, carrier = load_named_network(self.named_network)
            self.load_networks({ROLE: network})
            if carrier is not None and carrier.registry_name == self.registry_name:
                self.fitted_on = self.fitted_on or carrier.fitted_on  # it is that detector with other options
        return {} if self._network is None else {ROLE: self._network}

    def load_networks(self, networks: Mapping[str, Segmenter]) -> None:
        """Take the network; see `Detector.load_networks`."""
        if set(networks) != {ROLE}:
            raise CompatibilityError(
                f"{self.registry_name} carries one network, under the role {ROLE}, got {sorted(networks)}"
            )
        self.accept(networks[ROLE])
        self._network = networks[ROLE]

    def own_scene(self, scene: Scene) -> Scene:
        """The scene as its own network sees it, should another one have prepared it."""
        network = self.segmenter
        if network is None or scene.segmenter is network:
            return scene
        return scene.remembered(("own", id(network)), lambda: _prepared_for(network, scene))


def load_named_network(text: str) -> tuple[Segmenter, Detector | None]:
    """The network that a text names.

    Args:
        text: What `load_segmenter` takes, or the directory of a saved detector that carries the network it scores.

    Returns:
        The network, and the saved detector that carries it.

    Raises:
        ConfigError: The name is unknown, or of a network without weights.
        CompatibilityError: A saved detector that carries no network.
        DataError: A file is missing or damaged.
    """
    if is_detector_directory(text):
        detector = load_detector(text)
        if detector.segmenter is None:
            raise CompatibilityError(
                f"{text} is a {detector.registry_name} detector, which carries no network; name the network instead"
            )
        return detector.segmenter, detector
    if not Path(text).is_dir():
        reason = why_weightless(text)
        if reason is not None:
            raise ConfigError(reason)
    return load_segmenter(text), None


def _prepared_for(network: Segmenter, scene: Scene) -> Scene:
    height, width = scene.input_size
    images = network.to(scene.images.device).pad(scene.images[..., :height, :width])
    return Scene(images, scene.frame_ids, scene.image_sizes, network, input_size=scene.input_size)
