"""An ``.onnx`` file as a segmentation network: the input that takes images, the output that gives logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, ConfigError, unknown_name
from anomseg.segmenters.base import Size
from anomseg.segmenters.onnx_session import FLOATS, Port, digest_of_model, open_session, ports, run_session

Layout = Literal["auto", "nchw", "nhwc"]

_LABELS = "export the logits before the argmax"


class OnnxNetwork:
    """An opened ``.onnx`` file that takes one batch of RGB images and gives class logits.

    Args:
        path: The file.
        output: Name of the output with the logits; the only 4-D float output when not given.
        layout: Order of the axes of images and maps; by default channels last where the graph's input says so.
        threads: See `open_session`.
        provider: See `open_session`.

    Attributes:
        name: The file's name, for messages.
        digest: SHA-256 over the file and its data files.
        logits: Name of the output with the logits.
        maps: Names of the other 4-D float outputs.
        sides: ``(height, width)`` that the graph fixes; None where it takes any.

    Raises:
        ConfigError: An option does not fit the graph, or ONNX Runtime is not installed.
        DataError: The file is missing, damaged, or cannot be opened.
        CompatibilityError: Its inputs or outputs are not those of a segmentation network.
    """

    def __init__(
        self,
        path: str | Path,
        output: str | None = None,
        layout: Layout = "auto",
        threads: int | None = None,
        provider: str = "cpu",
    ) -> None:
        if layout not in ("auto", "nchw", "nhwc"):
            raise ConfigError(f"layout must be auto, nchw or nhwc, got {layout!r}")
        self.name, self.digest = Path(path).name, digest_of_model(path)
        self._session = open_session(path, threads, provider)
        outputs = ports(self._session.get_outputs())
        self.logits = _logits_port(outputs, output, self.name).name
        self.maps = tuple(port.name for port in outputs if _is_map(port) and port.shape and port.name != self.logits)
        self._image = _image_port(ports(self._session.get_inputs()), self.name)
        shape = self._image.shape or (None,) * 4
        self._last = layout == "nhwc" or (layout == "auto" and shape[3] == 3 and shape[1] != 3)
        batch, channels, *sides = (shape[0], shape[3], *shape[1:3]) if self._last else shape
        if channels not in (None, 3):
            raise CompatibilityError(
                f"input {self._image} of {self.name} has {channels} channels where an RGB image has 3"
                f"{'; try layout=nhwc' if shape[3] == 3 else ''}"
            )
        self._batch = batch
        self.sides: tuple[int | None, int | None] = (sides[0], sides[1])

    @property
    def fixed_size(self) -> Size | None:
        """``(height, width)`` of a graph that takes no other; None where a side is free."""
        height, width = self.sides
        return (height, width) if height is not None and width is not None else None

    @property
    def takes_bytes(self) -> bool:
        """Whether images go in as uint8, 0 to 255."""
        return self._image.kind not in FLOATS

    def run(self, images: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on a batch, as often as its own batch size asks for.

        Args:
            images: ``(B, 3, h, w)``, as the graph wants them; 0 to 255 where `takes_bytes`.
            names: Outputs to return.

        Returns:
            ``(B, K, h', w')`` float32 by name.

        Raises:
            CompatibilityError: The graph takes another size, or an output is no such map.
            DataError: ONNX Runtime stopped.
        """
        given = images.shape[-2:]
        if any(side not in (None, own) for side, own in zip(self.sides, given, strict=True)):
            wanted = "x".join("any" if side is None else str(side) for side in self.sides)
            raise CompatibilityError(
                f"{self.name} takes images of {wanted} (height x width) only, not {given[0]}x{given[1]}; "
                "leave the size out, or export it anew with dynamic sides"
            )
        batch = images.transpose(0, 2, 3, 1) if self._last else images
        step = self._batch or len(batch)
        parts = [self._run_part(batch[start : start + step], step, names) for start in range(0, len(batch), step)]
        found = {}
        for index, name in enumerate(names):
            maps = np.concatenate([part[index] for part in parts]) if len(parts) > 1 else parts[0][index]
            if maps.ndim != 4 or len(maps) != len(batch):
                raise CompatibilityError(
                    f"output {name} of {self.name} has shape {maps.shape} for {len(batch)} images; expected "
                    f"{'(batch, height, width, classes)' if self._last else '(batch, classes, height, width)'}"
                )
            found[name] = np.ascontiguousarray(maps.transpose(0, 3, 1, 2) if self._last else maps, dtype=np.float32)
        return found

    def _run_part(self, batch: NDArray[np.float32], step: int, names: Sequence[str]) -> list[NDArray[Any]]:
        kind = FLOATS.get(self._image.kind, np.uint8)
        filled = np.concatenate([batch, np.repeat(batch[-1:], step - len(batch), 0)]) if len(batch) < step else batch
        feed = {self._image.name: np.ascontiguousarray(filled, dtype=kind)}
        answers = run_session(self._session, names, feed, self.name)
        # An output that forgets the batch is told by its shape, so only maps of the filled batch are cut.
        return [answer[: len(batch)] if len(answer) == step else answer for answer in answers]


def _is_map(port: Port) -> bool:
    return port.kind in FLOATS and len(port.shape) in (0, 4)


def _logits_port(outputs: Sequence[Port], wanted: str | None, name: str) -> Port:
    listed = "; ".join(map(str, outputs))
    if wanted is not None:
        found = {port.name: port for port in outputs}
        if wanted not in found:
            raise unknown_name(f"output of {name}", wanted, found)
        if not _is_map(found[wanted]):
            raise CompatibilityError(f"output {found[wanted]} of {name} is no 4-D float map of logits; {_LABELS}")
        return found[wanted]
    candidates = [port for port in outputs if _is_map(port)]
    if not candidates:
        labels = any(port.kind not in FLOATS or len(port.shape) == 3 for port in outputs)
        why = f"its outputs look like class maps or scores; {_LABELS}" if labels else "export the logits of each pixel"
        raise CompatibilityError(f"{name} gives no logits (4-D float) but {listed}: {why}")
    if len(candidates) > 1:
        raise ConfigError(
            f"{name} has several outputs that could be logits: {'; '.join(map(str, candidates))}; "
            f"choose one with output={candidates[0].name}"
        )
    return candidates[0]


def _image_port(inputs: Sequence[Port], name: str) -> Port:
    if len(inputs) != 1:
        raise CompatibilityError(
            f"{name} takes {len(inputs)} inputs ({'; '.join(map(str, inputs)) or 'none'}), not one batch of images; "
            "export the network with the image alone"
        )
    image = inputs[0]
    if len(image.shape) not in (0, 4) or image.kind not in (*FLOATS, "tensor(uint8)"):
        raise CompatibilityError(
            f"input {image} of {name} is no batch of images; expected float or uint8 (batch, 3, height, width)"
        )
    return image
