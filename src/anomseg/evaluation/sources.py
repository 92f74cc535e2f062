"""Where the anomaly maps of a frame come from: detectors over shared networks, or a folder of maps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from anomseg.detectors import Detector, anomaly_maps, network_of
from anomseg.detectors.seeding import frame_seed
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.evaluation.scores_dir import ScoresDirectory
from anomseg.inference.assessing import assess_images
from anomseg.inference.predictor import check_scores
from anomseg.segmenters import Scene, Segmenter, make_scene
from anomseg.segmenters.base import Size
from anomseg.types import Measure, Needs, UInt8Array


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
        score: ``(H, W)`` float32; None where it failed, or gives no map when it is asked to assess.
        error: Why it failed.
        forward: Seconds of the forward passes that it shares with other detectors.
        seconds: Seconds of its own.
        quality: ``(C,)`` float32 expected overlap of each class of its network; None where it was not asked for or is
            not given.
        measure: The overlap that is meant.
    """

    folder: str
    score: NDArray[np.float32] | None = None
    error: FrameError | None = None
    forward: float = 0.0
    seconds: float = 0.0
    quality: NDArray[np.float32] | None = None
    measure: Measure = "iou"


class MapSource(Protocol):
    """Gives the maps of a frame, one detector after the other."""

    reads_images: bool

    def answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        """Yield one answer for each of the detectors named."""

    def prediction(self, folder: str | None = None) -> UInt8Array | None:
        """The class map ``(H, W)`` of the frame last asked about, in the network's classes.

        Args:
            folder: The detector whose network is meant; None for the network given.
        """

    def own_segmentation(self, folder: str) -> UInt8Array | None:
        """The class map ``(H, W)`` that a detector gives itself, in its network's classes; None where it has none."""


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
        judged: Detectors whose network's class map is wanted beside their own map.
        assess: Detectors are asked where the segmentation is wrong, not what is anomalous.
    """

    detectors: Mapping[str, Detector]
    segmenter: Segmenter | None
    size: Size | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    segment: bool = False
    judged: frozenset[str] = frozenset()
    assess: bool = False
    reads_images: bool = field(default=True, init=False)
    _scenes: dict[int, Scene] = field(default_factory=dict, init=False)
    _predictions: dict[int, UInt8Array] = field(default_factory=dict, init=False)

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
        with self._enough_memory(sample.frame_id):
            yield from self._answers(sample, folders)

    @contextmanager
    def _enough_memory(self, frame_id: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if "memory" in str(error).lower() or isinstance(error, MemoryError):
                raise ConfigError(
                    f"out of memory on {self.device} at frame {frame_id}; use a smaller --size or another --device"
                ) from error
            raise

    def _answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        scenes = self._scenes = {}
        self._predictions = {}
        forward: dict[int, float] = {}
        wanted = [self.segmenter] if self.segment else []
        wanted += [self.networks[name] for name in folders]
        for network in wanted:
            if id(network) not in scenes:
                start = time.perf_counter()
                scenes[id(network)] = self._scene_of(network, sample, folders)
                forward[id(network)] = time.perf_counter() - start
        for name in folders:
            network = self.networks[name]
            start = time.perf_counter()
            try:
                answer = self._ask(name, scenes[id(network)])
                if answer.score is not None:
                    check_scores(answer.score, sample.size, sample.frame_id, name)
            except FrameError as error:
                yield Answer(name, error=error, forward=forward[id(network)])
                continue
            yield replace(answer, forward=forward[id(network)], seconds=time.perf_counter() - start)

    def _ask(self, name: str, scene: Scene) -> Answer:
        # Detectors that sample must give the same map in any shard and after any interruption.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(frame_seed(self.seed, scene.frame_ids))
            if self.assess:
                found = assess_images(self.detectors[name], scene)[0]
                return Answer(name, found.error_map, quality=found.class_quality, measure=found.measure)
            score = anomaly_maps(self.detectors[name], scene)[0].numpy()
        return Answer(name, np.ascontiguousarray(score, dtype=np.float32))

    def _scene_of(self, network: Segmenter | None, sample: Sample, folders: Sequence[str]) -> Scene:
        image = sample.image
        assert image is not None  # noqa: S101 - reads_images is set, so the runner decodes it
        needs = Needs(logits=self.segment and network is self.segmenter)
        upsampled = head = needs.logits
        for name in folders:
            if self.networks[name] is network:
                needs |= self.needs[name]
                head |= self.detectors[name].reads_head or name in self.judged
                upsampled |= self.needs[name].logits and getattr(self.detectors[name], "upsample", "") == "logits"
        scene = make_scene(
            [image], [sample.frame_id], network, size=self.size, features=needs.features, device=self.device
        )  # fmt: skip
        if network is not None and needs.first_pass:
            with torch.inference_mode():
                # Upsampling here, where it is shared, keeps the detectors' own seconds comparable.
                if head:
                    _ = scene.logits() if upsampled else scene.output
                else:
                    scene.feature_maps(needs.features)
        return scene

    def prediction(self, folder: str | None = None) -> UInt8Array | None:
        """The class map ``(H, W)`` uint8 of the frame last asked about; the same array for detectors of one network.

        Args:
            folder: The detector whose network is meant; None for the network given, where it was wanted.

        Returns:
            None where there is no network.

        Raises:
            ConfigError: The device has too little memory for the frame.
        """
        network = self.segmenter if folder is None else self.networks[folder]
        scene = self._scenes.get(id(network))
        if network is None or scene is None or (folder is None and not self.segment):
            return None
        if id(network) not in self._predictions:
            with self._enough_memory(scene.frame_ids[0]), torch.inference_mode():
                self._predictions[id(network)] = scene.prediction()[0].to("cpu", torch.uint8).numpy()
        return self._predictions[id(network)]

    def own_segmentation(self, folder: str) -> UInt8Array | None:
        """The class map ``(H, W)`` uint8 that a detector gives itself for the frame last asked about.

        None where it has none, and where it was asked to assess the network's.

        Raises:
            CompatibilityError: It is not of the image's size, or names classes that its network has not.
            ConfigError: The device has too little memory for the frame.
        """
        detector, network = self.detectors[folder], self.networks[folder]
        if not detector.segments or network is None or self.assess:
            return None
        scene = self._scenes[id(network)]
        with self._enough_memory(scene.frame_ids[0]), torch.inference_mode():
            classes = detector.segment(scene)[0].to("cpu")
        if tuple(classes.shape) != scene.image_size or classes.min() < 0 or classes.max() >= len(network.classes):
            raise CompatibilityError(
                f"{folder} gives classes {int(classes.min())}..{int(classes.max())} of shape {tuple(classes.shape)}, "
                f"expected 0..{len(network.classes) - 1} of shape {scene.image_size}; mend its 'segment'"
            )
        return classes.to(torch.uint8).numpy()


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

    def prediction(self, folder: str | None = None) -> UInt8Array | None:
        """None: there is no network."""
        del folder
        return None

    def own_segmentation(self, folder: str) -> UInt8Array | None:
        """None: there are only maps of scores."""
        del folder
        return None
