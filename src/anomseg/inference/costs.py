"""What detection costs: the network alone, and what each detector adds to it."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anomseg._version import __version__
from anomseg.data.generated import generate_scene
from anomseg.detectors.base import Detector, anomaly_maps, network_of
from anomseg.errors import ConfigError
from anomseg.inference.assessing import assess_images
from anomseg.inference.profiling import MIB, Measured, measure, peak_memory, reason, rounds
from anomseg.inference.tasks import Task
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Needs, UInt8Array

NETWORK = "network"
SIZES: tuple[Size, ...] = ((512, 1024), (1024, 2048))
BATCHES = (1, 4)
DRAWN: Size = (180, 360)  # scenes are drawn once and enlarged: drawing is slow, and costs do not depend on detail


@dataclass(frozen=True)
class CostRow:
    """One line of a profile: a step at one size and batch.

    Attributes:
        size: ``(height, width)`` of the images, which is the working size too.
        batch: Images in a batch.
        name: ``network``, or the detector's name.
        passes: Forward passes of a network that an image takes until this detector's map is there.
        shares_pass: The detector reads the pass of the row ``network``, whose cost its own figures leave out.
        measured: Duration and memory; of a detector, what it adds.
        network_seconds: Median of the network alone, which a detector's throughput includes where it shares the pass.
    """

    size: Size
    batch: int
    name: str
    passes: int
    shares_pass: bool
    measured: Measured
    network_seconds: float | None = None

    @property
    def images_per_second(self) -> float | None:
        """Throughput of the network with this detector, at the median; None where either failed."""
        own = self.measured.percentile(50)
        before = self.network_seconds if self.shares_pass else 0.0
        return None if own is None or before is None else self.batch / max(own + before, 1e-9)

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON holds it: milliseconds a batch and an image, MiB, images a second."""
        middle, high = (_milliseconds(self.measured.percentile(share)) for share in (50, 95))
        peak, rate = self.measured.peak_bytes, self.images_per_second
        return {
            "size": list(self.size),
            "batch": self.batch,
            "name": self.name,
            "passes": self.passes,
            "shares_pass": self.shares_pass,
            "repeats": len(self.measured.seconds),
            "batch_ms": {"p50": middle, "p95": high},
            "image_ms": {key: _divided(value, self.batch) for key, value in (("p50", middle), ("p95", high))},
            "peak_mib": None if peak is None else round(peak / MIB, 1),
            "images_per_second": None if rate is None else round(rate, 3),
            "error": self.measured.error,
        }


def measure_costs(
    segmenter: Segmenter,
    detectors: Mapping[str, Detector],
    *,
    sizes: Sequence[Size] = SIZES,
    batches: Sequence[int] = BATCHES,
    repeats: int = 10,
    warmup: int = 2,
    on_step: Callable[[int, int], None] | None = None,
    task: Task = "anomaly",
) -> Iterator[list[CostRow]]:
    """Measure the network alone and what each detector adds, on generated street scenes.

    The steps of one size and batch take turns. Reading and resizing images is left out; bringing logits to the
    image's size counts to each detector that asks for it, though detectors scored together share it. Memory is the
    peak above what stood before the step, that is without weights and images, and of a detector without the
    network's answer.

    Args:
        segmenter: The network, on its device.
        detectors: Ready to score, by the names their rows get.
        sizes: ``(height, width)`` of the images.
        batches: Images in a batch.
        repeats: Timed runs of each step.
        warmup: Runs of each before.
        on_step: Called after each run with how many are done and how many there are.
        task: What detectors are asked: their ``score``, or with ``failure`` what they ``assess``.

    Yields:
        The rows of one size and batch, the network's first. After Ctrl-C first those that were measured by then, and
        then the interrupt goes on.

    Raises:
        ConfigError: A number is below 1.
        CompatibilityError: A detector does not fit the network, or is not fitted.
    """
    if min(repeats, *batches, *(side for size in sizes for side in size)) < 1 or warmup < 0:
        raise ConfigError("repeats, batches and sizes must be 1 or more, and warm-up runs 0 or more")
    if NETWORK in detectors:
        raise ConfigError(f"a detector cannot be called {NETWORK!r}; rename its directory")
    for detector in detectors.values():
        detector.require_fitted()
        detector.needs(network_of(detector, segmenter))
    segmenter.eval()
    done = 0
    total = len(sizes) * len(batches) * (len(detectors) + 1) * len(rounds(repeats, warmup))

    def count() -> None:
        nonlocal done
        done += 1
        if on_step is not None:
            on_step(done, total)

    for size in sizes:
        for batch in batches:
            found: dict[str, Measured] = {}
            describe = partial(_rows, size, batch, detectors, segmenter, found, task)
            try:
                steps = _Steps(segmenter, detectors, size, batch, found, task)
                memory = partial(peak_memory, device=steps.images.device)
                measure(steps.all(), found, repeats=repeats, warmup=warmup, peak=memory, on_step=count)
            except KeyboardInterrupt:
                yield [row for row in describe() if row.measured.seconds]
                raise
            except Exception as error:  # the images themselves do not fit
                found.update({name: Measured(error=reason(error)) for name in (NETWORK, *detectors)})
            yield describe()


class _Steps:
    """The steps of one size and batch, over one set of prepared images."""

    def __init__(
        self,
        segmenter: Segmenter,
        detectors: Mapping[str, Detector],
        size: Size,
        batch: int,
        found: dict[str, Measured],
        task: Task,
    ) -> None:
        self.segmenter, self.detectors, self.size, self.found = segmenter, detectors, size, found
        self.ask: Callable[[Detector, Scene], object] = assess_images if task == "failure" else anomaly_maps
        parameter = next(segmenter.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
        self.pictures = [_picture(index, size) for index in range(batch)]
        self.images = self._prepared(segmenter).to(device)
        self._outputs: dict[tuple[str, ...], SegmentationOutput] = {}

    def all(self) -> dict[str, Callable[[], object]]:
        """The network and each detector, as something to run."""
        steps: dict[str, Callable[[], object]] = {NETWORK: self._network}
        for name, detector in self.detectors.items():
            network = network_of(detector, self.segmenter)
            needs = detector.needs(network)
            images = self.images
            try:
                if shares_pass(detector, needs):
                    self._answer(needs.features)
                elif network is not None and network is not self.segmenter:
                    images = self._prepared(network).to(images.device)
            except Exception as error:
                self.found[name] = Measured(error=reason(error))
            steps[name] = partial(self._detector, detector, network, needs, images)
        return steps

    def _prepared(self, network: Segmenter) -> Tensor:
        return torch.stack([network.prepare(picture, self.size) for picture in self.pictures])

    def _scene(self, network: Segmenter | None, images: Tensor, **known: Any) -> Scene:
        ids = [f"scene-{index:04d}" for index in range(len(images))]
        return Scene(images, ids, [self.size] * len(images), network, input_size=self.size, **known)

    def _answer(self, features: tuple[str, ...]) -> SegmentationOutput:
        """The shared pass with some features; made once and not timed."""
        if features not in self._outputs:
            # Not in inference mode, whose tensors a detector that needs gradients could not use.
            with torch.no_grad():
                self._outputs[features] = self._scene(self.segmenter, self.images).forward(features=features)
        return self._outputs[features]

    def _network(self) -> None:
        with torch.inference_mode():
            self._scene(self.segmenter, self.images).forward()
        _wait(self.images.device)

    def _detector(self, detector: Detector, network: Segmenter | None, needs: Needs, images: Tensor) -> None:
        known = {"output": self._answer(needs.features)} if shares_pass(detector, needs) else {}
        self.ask(detector, self._scene(network, images, features=needs.features, **known))
        _wait(images.device)


def _rows(
    size: Size,
    batch: int,
    detectors: Mapping[str, Detector],
    segmenter: Segmenter,
    found: Mapping[str, Measured],
    task: Task,
) -> list[CostRow]:
    alone = found.get(NETWORK, Measured())
    rows = [CostRow(size, batch, NETWORK, 1, False, alone)]
    for name, detector in detectors.items():
        shares = shares_pass(detector, detector.needs(network_of(detector, segmenter)))
        own = found.get(name, Measured())
        passes = detector.assess_passes if task == "failure" else detector.forward_passes
        rows.append(CostRow(size, batch, name, passes, shares, own, alone.percentile(50)))
    return rows


def shares_pass(detector: Detector, needs: Needs) -> bool:
    """Whether a detector reads the plain pass of the network that all detectors share."""
    return needs.first_pass and not detector.flags.owns_network


def describe_run(segmenter: Segmenter, device: torch.device) -> dict[str, Any]:
    """What the figures of a profile hold for: network, device, threads, versions, how the network is run."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    weights = sum(tensor.numel() * tensor.element_size() for tensor in segmenter.state_dict().values())
    identity = segmenter.identity()
    return {
        "segmenter": identity,
        "weights_mib": round(weights / MIB, 1),
        "device": {"type": device.type, "name": name},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "library_version": __version__,
        "execution": {"precision": "float32", "compile": False, "tile": None, **_execution(identity)},
    }


def _processor() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8", "replace"), re.M)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _execution(identity: Mapping[str, object]) -> Mapping[str, Any]:
    found = identity.get("execution")
    return found if isinstance(found, Mapping) else {}


def _picture(index: int, size: Size) -> UInt8Array:
    return np.asarray(Image.fromarray(_drawn(index)).resize((size[1], size[0]), Image.Resampling.BILINEAR))


@lru_cache(maxsize=16)
def _drawn(index: int) -> UInt8Array:
    return generate_scene(index, size=DRAWN).image


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)


def _divided(value: float | None, by: int) -> float | None:
    return None if value is None else round(value / by, 3)
