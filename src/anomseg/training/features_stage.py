"""The stage that computes the features of training crops and validation images once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.errors import ConfigError, unknown_name
from anomseg.files import write_json
from anomseg.segmenters import Segmenter, save_segmenter
from anomseg.segmenters.base import weights_hash
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.training.bounds import check_bounds
from anomseg.training.data_of_stage import INDEX, NETWORK
from anomseg.training.feature_cache import FEATURES, FeatureCache, Kind, stored_layers
from anomseg.training.labelled_data import LabelledData
from anomseg.training.network import build_network, check_network, start_of, trained_network
from anomseg.training.options import NetworkConfig
from anomseg.training.recipe import Recipe, StageConfig, configure

BATCH = 8


@dataclass(frozen=True)
class FeaturesConfig:
    """Which features of which network.

    Attributes:
        network: Registered segmenter.
        options: Its options; the classes come from the label space.
        start: A saved segmenter whose features they are.
        encoder_start: A checkpoint whose encoder's features they are.
        layers: Names of the feature maps that later stages read.
        images: Keep the images too, for stages with an encoder of their own.
        crops: How many training crops; later stages draw from these over and over.
        cache: Folder for the samples, shared by runs that need the same ones; the stage's own where not given.
    """

    network: str = "erfnet_pyramid"
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    encoder_start: str | None = None
    layers: Sequence[str] = ()
    images: bool = False
    crops: int = 1200
    cache: str | None = None

    def __post_init__(self) -> None:
        check_bounds("crops", self.crops, 1)


class FeaturesStage:
    """Computes and keeps features of a network that is not trained further.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name, self._written = recipe, config.name, config.module
        self.config = configure(FeaturesConfig, config.module, f"{config.name}.module")
        self.data = LabelledData(recipe, config)
        if not self.config.layers:
            raise ConfigError(f"{config.name}.module.layers is empty; name the feature maps that later stages read")
        if config.trainer:
            raise ConfigError(f"{config.name}.trainer: a features stage trains nothing; leave it out")
        self.network = NetworkConfig(
            network=self.config.network,
            options=self.config.options,
            start=self.config.start,
            encoder_start=self.config.encoder_start,
            freeze_encoder=True,
        )
        if self.network.start is None:
            check_network(self.network, self.name, BATCH)

    def check(self) -> None:
        """Find the data and the network, before any stage starts."""
        if not (self.network.start or self.network.encoder_start):
            ask = "start DIR" if "start" in self._written else "encoder_start FILE"
            raise ConfigError(
                f"{self.recipe.name} works on a network that is trained already: add --stages.{self.name}.module.{ask}"
            )
        self._segmenter()
        self.data.stores  # noqa: B018 - found now, so that a wrong folder is told now

    def _segmenter(self) -> Segmenter:
        taught = self.data.taught
        if self.network.start:  # any kind of network will do
            segmenter = trained_network(self.network.start, self.name, taught).eval()
        else:
            segmenter = build_network(self.network, self.name, taught, self.data.seed).eval()
        for layer in self.config.layers:
            if layer not in segmenter.feature_info:
                raise unknown_name(f"feature of {segmenter.registry_name}", layer, segmenter.feature_info)
        sides = self.data.augment.crop
        if any(side % segmenter.divisor for side in sides):
            raise ConfigError(
                f"{self.name}.data.augment.crop must be multiples of {segmenter.divisor} for "
                f"{segmenter.registry_name}, got {list(sides)}"
            )
        return segmenter

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Compute what is not there yet; see `Stage.run`."""
        del taken
        began = time.perf_counter()
        segmenter = self._segmenter()
        origin = {**start_of(self.network, segmenter), **self.data.withheld()}
        cache = FeatureCache(self._place(folder, segmenter))
        count = len(self.data.stores[-1])
        done = 0
        parts: list[tuple[Kind, Dataset[dict[str, Tensor]], int]] = [
            ("crops", self.data.crops(), self.config.crops),
            ("validation", self.data.whole_images(segmenter), count),
        ]
        with torch.inference_mode():
            for kind, source, total in parts:
                for index in _missing(cache, kind, total, quiet):
                    cache.write(kind, index, self._sample(segmenter, source, index))
                    done += 1
        save_segmenter(segmenter, out / NETWORK, meta=origin)
        seconds = round(time.perf_counter() - began, 1)
        write_json(
            out / INDEX,
            {
                "folder": str(cache.folder.resolve()),
                "crops": self.config.crops,
                "validation": count,
                "layers": list(self.config.layers),
                "stored": list(stored_layers(segmenter, self.config.layers)),
                "images": self.config.images,
                "frequencies": self.data.frequencies(),
                "record": self.data.record(),
            },
        )
        return {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.data.seed,
            "steps": 0,
            "images_seen": done,
            "seconds": seconds,
            "validation": {},
            **self.data.record(),
            **origin,
        }

    def _place(self, folder: Path, segmenter: Segmenter) -> Path:
        """The folder of the samples, named after all that they depend on: a broken run may go on with other crops."""
        data = {
            name: value
            for name, value in asdict(self.data.config).items()
            if name not in ("batch_size", "workers", "memory") and (name != "negatives" or value)
        }
        frames = [[frame.id for frame in store.frames] for store in self.data.stores]
        stored, images = stored_layers(segmenter, self.config.layers), self.config.images
        network = weights_hash(segmenter.encoder if isinstance(segmenter, EncoderNetwork) else segmenter)
        what = [data, self.data.seed, stored, images, segmenter.registry_name, network, frames]
        if self.data.negatives is not None:
            what.append(self.data.negatives.names())
        text = json.dumps([what, list(segmenter.size or ())], sort_keys=True, default=str)
        place = folder / "samples" if self.config.cache is None else Path(self.config.cache)
        return place / hashlib.sha256(text.encode()).hexdigest()[:24]

    def _sample(self, segmenter: Segmenter, source: Dataset[dict[str, Tensor]], index: int) -> dict[str, Tensor]:
        sample = dict(source[index])
        image = sample.pop("image")[None]
        layers = stored_layers(segmenter, self.config.layers)
        if isinstance(segmenter, EncoderNetwork):
            maps = segmenter.encoder_maps(image)
        else:
            maps = segmenter.feature_maps(image, layers)
        sample |= {FEATURES + name: maps[name][0] for name in layers}
        return sample | ({"image": image[0]} if self.config.images else {})


def _missing(cache: FeatureCache, kind: Kind, total: int, quiet: bool) -> Iterator[int]:
    """Samples that an earlier attempt has not left, with a progress bar unless quiet."""
    from rich.progress import track  # noqa: PLC0415 - kept out of start-up

    wanted = [index for index in range(total) if not cache.path(kind, index).is_file()]
    yield from track(wanted, f"features: {kind}", disable=quiet or not wanted)
