"""Feature maps and parametric scores of every frame, computed once and kept on disk.

A frame is four kinds of files: one feature map a layer (float16, cells x channels, read as a memory map), the
parametric scores at label size (float32), the classes at the cells' centres (bank frames), and last a small JSON file
that says the frame is complete. So an interrupted extraction goes on at the frame where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from knn_plan import FrameSet, Network
from numpy.typing import NDArray

from anomseg import scores
from anomseg.detectors.features import feature_map
from anomseg.detectors.road import road_classes
from anomseg.detectors.targets import ClassTargets
from anomseg.errors import ConfigError
from anomseg.files import atomic_write, read_json, write_json
from anomseg.segmenters import Scene, Segmenter, load_segmenter, make_scene
from anomseg.types import VOID, Frame

PARAMETRIC = ("msp", "max_logit", "entropy", "energy")
MAPS = (*PARAMETRIC, "not_road")
Say = Callable[[str], None]
Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Sizes ``(height, width)`` of the padded input, of the input without padding, and of the image."""


def parametric_maps(scene: Scene) -> NDArray[np.float32]:
    """Scores of the logits at the image's own size, ``(5, H, W)`` in the order of `MAPS`."""
    logits = scene.logits()
    road = road_classes(scene.segmenter.classes if scene.segmenter is not None else ())
    maps = [getattr(scores, name)(logits, check=False) for name in PARAMETRIC]
    maps.append((1 - logits.softmax(1)[:, road].sum(1)).clamp(0, 1))
    return torch.cat(maps).to(torch.float32).numpy()


def named(layer: str) -> tuple[str, int]:
    """Feature map and stride of a layer as the plan writes it; stride 0 is the map's own.

    Example:
        >>> named("encoder"), named("decoder@8")
        (('encoder', 0), ('decoder', 8))
    """
    name, _, stride = layer.partition("@")
    return name, int(stride or 0)


def centres(geometry: Geometry, grid: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the label pixel at each cell's centre; -1 where a cell's centre lies in the padding."""
    found = []
    for padded, inside, own, cells in zip(*geometry, grid, strict=True):
        place = (np.arange(cells) + 0.5) * padded / cells
        found.append(np.where(place < inside, np.minimum((place * own / inside).astype(np.int64), own - 1), -1))
    return found[0], found[1]


@dataclass(frozen=True)
class CachedFrame:
    """One frame of the cache.

    Attributes:
        folder: Where its files lie.
        name: Beginning of their names.
        frame: The frame itself, which still gives label and group.
    """

    folder: Path
    name: str
    frame: Frame

    @cached_property
    def record(self) -> dict[str, Any]:
        """Sizes, and the least and greatest value of each parametric score."""
        return dict(read_json(self.folder / f"{self.name}.json"))

    @property
    def geometry(self) -> Geometry:
        """Sizes of padded input, input and image."""
        padded, inside, own = (tuple(self.record[key]) for key in ("padded", "input", "image"))
        return padded, inside, own  # type: ignore[return-value] - pairs

    def grid(self, layer: str) -> tuple[int, int]:
        """``(h, w)`` of a feature map."""
        height, width = self.record["grids"][layer]
        return height, width

    def features(self, layer: str) -> NDArray[np.float16]:
        """``(h * w, D)`` float16, memory-mapped."""
        return np.load(self.folder / f"{self.name}.{layer}.npy", mmap_mode="r")

    def map(self, name: str) -> NDArray[np.float32]:
        """``(H, W)`` float32, a parametric score at the image's size."""
        return np.array(np.load(self.folder / f"{self.name}.maps.npy", mmap_mode="r")[MAPS.index(name)])

    def classes(self, layer: str) -> NDArray[np.uint8]:
        """``(h * w,)`` the network's class of each cell, 255 where the frame's class is void or has none of them."""
        return np.load(self.folder / f"{self.name}.{layer}.classes.npy")

    def valid(self, layer: str) -> NDArray[np.bool_]:
        """``(h * w,)`` whether the cell's centre shows anything that is not void, in the image."""
        return np.load(self.folder / f"{self.name}.{layer}.valid.npy")


class Cache:
    """All frames of a network.

    Args:
        root: Folder of the cache.
        network: Whose features.
        data: Folder of the data sets.
        limit: So many frames of each set at most.
    """

    def __init__(self, root: Path, network: Network, data: Path, limit: int | None = None) -> None:
        self.root, self.network, self.data, self.limit = root / network.key, network, data, limit
        self._segmenter: Segmenter | None = None
        self._sets: dict[str, list[CachedFrame]] = {}

    def frames(self, which: FrameSet) -> list[CachedFrame]:
        """The frames of a set, whether or not they are extracted yet."""
        if which.key not in self._sets:
            folder = self.root / which.key
            self._sets[which.key] = [
                CachedFrame(folder, frame.id, frame) for frame in which.frames(self.data, self.limit)
            ]
        return self._sets[which.key]

    @property
    def segmenter(self) -> Segmenter:
        """The network, loaded when first asked for."""
        if self._segmenter is None:
            self._segmenter = load_segmenter(self.network.segmenter)
        return self._segmenter

    def fill(self, say: Say) -> None:
        """Extract what is missing.

        Raises:
            ConfigError: The cache holds features of another network, or of other layers.
        """
        self._claim()
        for which in self.network.sets:
            frames = self.frames(which)
            todo = [one for one in frames if not (one.folder / f"{one.name}.json").is_file()]
            for done, one in enumerate(todo, len(frames) - len(todo) + 1):
                self._extract(one, which is self.network.bank)
                say(f"{self.network.key}: {which.title}, frame {done} of {len(frames)}")

    def _claim(self) -> None:
        """Note whose features these are, so that those of another network are never taken for them."""
        path = self.root / "network.json"
        own = {"identity": json.loads(json.dumps(self.segmenter.identity())), "layers": list(self.network.layers)}
        if not path.is_file():
            write_json(path, own)
        elif read_json(path) != own:
            raise ConfigError(
                f"{self.root} holds features of another network or other layers; delete it together with the units "
                f"called {self.network.key}-*, or change --work"
            )

    @torch.inference_mode()
    def _extract(self, one: CachedFrame, bank: bool) -> None:
        image = one.frame.image()
        layers = self.network.layers
        names = tuple(dict.fromkeys(named(layer)[0] for layer in layers))
        scene = make_scene([image], [one.name], self.segmenter, features=names)
        output, maps = scene.output, parametric_maps(scene)
        found = {layer: feature_map(scene, *named(layer)) for layer in layers}
        record = {
            "padded": output.padded_size,
            "input": output.input_size,
            "image": scene.image_size,
            "grids": {layer: tuple(found[layer].shape[-2:]) for layer in layers},
            "ranges": {name: [float(own.min()), float(own.max())] for name, own in zip(MAPS, maps, strict=True)},
        }
        for layer in layers:
            features = found[layer][0].flatten(1).T.to(torch.float16)
            self._write(one, layer, features.contiguous().numpy())
            if bank:
                height, width = found[layer].shape[-2:]
                self._write_classes(one, layer, scene, (height, width))
        if not bank:
            self._write(one, "maps", maps)
        write_json(one.folder / f"{one.name}.json", json.loads(json.dumps(record)))

    def _write_classes(self, one: CachedFrame, layer: str, scene: Scene, grid: tuple[int, int]) -> None:
        inside = ClassTargets(self.segmenter).at(one.frame, scene, grid).to(torch.uint8).numpy()
        classes = np.full(grid, VOID, np.uint8)
        classes[: inside.shape[0], : inside.shape[1]] = inside
        output = scene.output
        rows, columns = centres((output.padded_size, output.input_size, scene.image_size), grid)
        given = one.frame.classes
        assert given is not None
        seen = given[np.ix_(rows, columns)] != VOID
        self._write(one, f"{layer}.classes", classes.ravel())
        self._write(one, f"{layer}.valid", (seen & (rows >= 0)[:, None] & (columns >= 0)).ravel())

    @staticmethod
    def _write(one: CachedFrame, kind: str, values: NDArray[Any]) -> None:
        with atomic_write(one.folder / f"{one.name}.{kind}.npy") as stream:
            np.save(stream, values)
