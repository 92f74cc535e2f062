"""The detectors of a comparison, loaded, and fitted first where they have to be; one that fails is told of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anomseg.compare.config import CompareConfig, FitData
from anomseg.compare.rows import Row
from anomseg.data import dataset_spec, load_frames
from anomseg.detectors import Detector, network_of, resolve_detector, save_detector
from anomseg.detectors.saved import is_detector_directory
from anomseg.errors import AnomsegError
from anomseg.inference.profiling import reason
from anomseg.segmenters import Segmenter, load_segmenter
from anomseg.types import Frame

FITTED = "fitted"


@dataclass(frozen=True)
class Loaded:
    """A row that is ready to score.

    Attributes:
        row: The row.
        detector: Its detector.
        given: The network that is handed to it; None where it owns the one it scores.
        text: What names the detector from now on: where it was fitted, the directory that holds it.
        network: What tells networks apart: rows of one network share its passes.
    """

    row: Row
    detector: Detector
    given: Segmenter | None
    text: str
    network: str

    @property
    def owns(self) -> bool:
        """Whether it scores a network of its own."""
        return self.detector.flags.owns_network

    @property
    def scored(self) -> Segmenter | None:
        """The network that it scores."""
        return network_of(self.detector, self.given)


class Loader:
    """Loads rows; networks that several of them score are loaded once.

    Args:
        config: The comparison.
        out: Its folder, for what is fitted.
        say: Told what goes on.
    """

    def __init__(self, config: CompareConfig, out: Path, say: Callable[[str], None]) -> None:
        self.config, self.out, self.say = config, out, say
        self._networks: dict[str, Segmenter] = {}

    def network(self, text: str) -> Segmenter:
        """A network by what names it."""
        if text not in self._networks:
            self._networks[text] = load_segmenter(text)
        return self._networks[text]

    def load_all(self) -> tuple[list[Loaded], dict[str, str]]:
        """Load every row.

        Returns:
            The rows that can score, and for the others by title why not.
        """
        loaded: list[Loaded] = []
        failed: dict[str, str] = {}
        for row in self.config.rows:
            try:
                loaded.append(self.load(row))
            except Exception as error:  # whatever one detector does, the others go on
                failed[row.title] = why(error)
                self.say(f"{row.title} cannot be used: {failed[row.title]}")
        return loaded, failed

    def load(self, row: Row) -> Loaded:
        """Load one row, and fit it first where that is needed.

        Raises:
            AnomsegError: It cannot be loaded or fitted, or does not fit its network.
        """
        named = row.segmenter or self.config.segmenter
        if row.fit and self.config.fit is not None:
            text = str(self._fitted(row, named, self.config.fit))
        else:
            text = row.detector
        detector = resolve_detector(text)
        if "seed" in detector.get_params() and "seed=" not in text and not is_detector_directory(text):
            detector.seed = self.config.seed  # type: ignore[attr-defined]
        detector.require_fitted()
        if detector.flags.owns_network:
            own = network_of(detector, None)
            detector.needs(own)
            return Loaded(row, detector, None, text, f"own {own.fingerprint() if own is not None else row.title}")
        network = self.network(named)
        detector.needs(network)
        return Loaded(row, detector, network, text, named)

    def _fitted(self, row: Row, named: str, fit: FitData) -> Path:
        network = self.network(named)
        content = [row.detector, network.identity(), fit.data, fit.held_out, fit.limit, self.config.seed]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:10]
        target = self.out / FITTED / f"{row.folder}-{digest}"
        if not is_detector_directory(target):
            self.say(f"fitting {row.title}")
            detector = resolve_detector(row.detector)
            if "seed" in detector.get_params() and "seed=" not in row.detector:
                detector.seed = self.config.seed  # type: ignore[attr-defined]
            detector.fit(network, fit_frames(fit))
            save_detector(detector, target, network)
        return target


def fit_frames(fit: FitData) -> list[Frame]:
    """The frames to fit on: of split train where a set has one and none is named."""
    frames: list[Frame] = []
    for text in fit.data:
        name, _, rest = text.partition("=")
        root, at, split = rest.rpartition("@")
        root, named = (root, split) if at and "/" not in split else (rest, None)
        if named is None and any(one.name == "train" for one in dataset_spec(name).splits):
            named = "train"
        frames += load_frames(
            name,
            root=root,
            split=named,
            held_out=fit.held_out,
            held_out_images="drop" if fit.held_out else "keep",
            limit=fit.limit,
        )
    return frames


def why(error: BaseException) -> str:
    """Why a row failed, in one line."""
    return " ".join(str(error).split()) if isinstance(error, AnomsegError) else reason(error)


def by_network(rows: list[Loaded]) -> Mapping[str, list[Loaded]]:
    """Rows that share a network, in their order."""
    groups: dict[str, list[Loaded]] = {}
    for one in rows:
        groups.setdefault(one.network, []).append(one)
    return groups
