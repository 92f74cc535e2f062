"""Where the anomaly maps of a frame come from: detectors over shared networks, or a folder of maps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from anomseg.detectors import Detector, anomaly_maps, network_of
from anomseg.detectors.seeding import frame_seed
from anomseg.errors import ConfigError, FrameError
from anomseg.evaluation.scores_dir import ScoresDirectory
from anomseg.inference.predictor import check_scores
from anomseg.segmenters import Scene, Segmenter, make_scene
from anomseg.segmenters.base import Size
from anomseg.types import Needs, UInt8Array


@dataclass(frozen=True)
class Sample:
    """One decoded frame.

    Attributes:
        frame_id: Its id.
        size: ``(H, W)`` of its label, or of its class map where it has no label.
        image: ``(H, W, 3)`` uint8; None where the source reads no images.
    """

    frame_id: str
    size: Size
    image: UInt8Array | None = None


@dataclass(frozen=True)
class Answer:
    """What one detector says of one frame.

    Attributes:
        folder: The detector's folder in the results, which names it within the run.
        score: ``(H, W)`` float32; None where it failed.
        error: Why it failed.
        forward: Seconds of the forward passes that it shares with other detectors.
        seconds: Seconds of its own.
    """

    folder: str
    score: NDArray[np.float32] | None = None
    error: FrameError | None = None
    forward: float = 0.0
    seconds: float = 0.0


class MapSource(Protocol):
    """Gives the maps of a frame, one detector after the other."""

    reads_images: bool

    def answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        """Yield one answer for each of the detectors named."""

    def prediction(self) -> UInt8Array | None:
        """The class map ``(H, W)`` of the frame last asked about, in the network's classes."""


@dataclass
class NetworkSource:
    """Detectors that share one forward pass of each network per frame.

    Args:
        detectors: Detectors by their folder in the results.
        segmenter: The network given; detectors that own theirs are scored on that.
        size: Working size ``(height, width)`` that overrides the network's.
        device: Where the networks run.
        seed: Of detectors that sample.
        segment: The network's own class map is wanted too.
    """

    detectors: Mapping[str, Detector]
    segmenter: Segmenter | None
    size: Size | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    segment: bool = False
    reads_images: bool = field(default=True, init=False)
    _scene: Scene | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.networks = {name: network_of(detector, self.segmenter) for name, detector in self.detectors.items()}
        self.needs = {name: detector.needs(self.networks[name]) for name, detector in self.detectors.items()}
        for network in (*self.networks.values(), self.segmenter):
            if network is not None:
                network.to(self.device).eval()

    def answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        """Yield one answer a detector; each network runs once, before the first detector that reads it.

        Raises:
            ConfigError: The device has too little memory for a frame.
        """
        try:
            yield from self._answers(sample, folders)
        except (RuntimeError, MemoryError) as error:
            if "memory" in str(error).lower() or isinstance(error, MemoryError):
                raise ConfigError(
                    f"out of memory on {self.device} at frame {sample.frame_id}; "
                    "use a smaller --size or another --device"
                ) from error
            raise

    def _answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        scenes: dict[int, Scene] = {}
        forward: dict[int, float] = {}
        wanted = [self.segmenter] if self.segment else []
        wanted += [self.networks[name] for name in folders]
        for network in wanted:
            if id(network) not in scenes:
                start = time.perf_counter()
                scenes[id(network)] = self._scene_of(network, sample, folders)
                forward[id(network)] = time.perf_counter() - start
        self._scene = scenes.get(id(self.segmenter)) if self.segment else None
        for name in folders:
            network = self.networks[name]
            start = time.perf_counter()
            try:
                score = self._score(name, scenes[id(network)])
                check_scores(score, sample.size, sample.frame_id, name)
            except FrameError as error:
                yield Answer(name, error=error, forward=forward[id(network)])
                continue
            yield Answer(name, score, None, forward[id(network)], time.perf_counter() - start)

    def _score(self, name: str, scene: Scene) -> NDArray[np.float32]:
        # Detectors that sample must give the same map in any shard and after any interruption.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(frame_seed(self.seed, scene.frame_ids))
            score = anomaly_maps(self.detectors[name], scene)[0].numpy()
        return np.ascontiguousarray(score, dtype=np.float32)

    def _scene_of(self, network: Segmenter | None, sample: Sample, folders: Sequence[str]) -> Scene:
        image = sample.image
        assert image is not None  # noqa: S101 - reads_images is set, so the runner decodes it
        needs = Needs(logits=self.segment and network is self.segmenter)
        upsampled = needs.logits
        for name in folders:
            if self.networks[name] is network:
                needs |= self.needs[name]
                upsampled |= self.needs[name].logits and getattr(self.detectors[name], "upsample", "") == "logits"
        scene = make_scene(
            [image], [sample.frame_id], network, size=self.size, features=needs.features, device=self.device
        )  # fmt: skip
        if network is not None and needs.first_pass:
            with torch.inference_mode():
                # Upsampling here, where it is shared, keeps the detectors' own seconds comparable.
                _ = scene.logits() if upsampled else scene.output
        return scene

    def prediction(self) -> UInt8Array | None:
        """The class map ``(H, W)`` uint8 of the frame last asked about; None where it was not wanted."""
        return None if self._scene is None else self._scene.prediction()[0].to("cpu", torch.uint8).numpy()


@dataclass
class FolderSource:
    """Maps read from a folder, one detector in all.

    Args:
        scores: The folder.
        folder: Its folder in the results.
    """

    scores: ScoresDirectory
    folder: str
    reads_images: bool = field(default=False, init=False)

    def answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        """Yield the one answer."""
        for name in folders:
            start = time.perf_counter()
            try:
                score = self.scores.read(sample.frame_id, sample.size)
            except FrameError as error:
                yield Answer(name, error=error)
                continue
            yield Answer(name, score, seconds=time.perf_counter() - start)

    def prediction(self) -> UInt8Array | None:
        """None: there is no network."""
        return None
