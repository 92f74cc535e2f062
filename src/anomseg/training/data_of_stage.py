"""Where a stage's samples come from: images of its own sources, or features that an earlier stage has computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from anomseg.errors import ConfigError
from anomseg.files import read_json
from anomseg.segmenters import Segmenter, load_segmenter
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.training.bounds import check_bounds
from anomseg.training.feature_cache import CachedCrops, CachedImages, FeatureCache, HeadMaps
from anomseg.training.labelled_data import LabelledData
from anomseg.training.recipe import Recipe, StageConfig, configure

INDEX, NETWORK = "features.json", "network"
"""What a features stage leaves: where the samples lie and of what, and the network that computed them."""


@dataclass(frozen=True)
class LoaderConfig:
    """The data of a stage that reads an earlier stage's features.

    Attributes:
        batch_size: Crops a step.
        workers: Loader processes; results are the same for any number.
    """

    batch_size: int = 8
    workers: int = 0

    def __post_init__(self) -> None:
        check_bounds("batch_size", self.batch_size, 1)
        check_bounds("workers", self.workers, 0)


class StageData:
    """Samples, labels and the network behind them, for stages that train.

    A stage that takes a features stage reads those; its own ``data`` then says no more than batch size and workers.

    Args:
        recipe: The recipe it belongs to.
        config: The stage.

    Raises:
        ConfigError: The configuration is not valid.

    Attributes:
        labelled: Label spaces, sources and validation set.
        cached: Whether features are read instead of images.
        layers: The features stage's layers; none where images are read.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        by_name = {stage.name: stage for stage in recipe.stages}
        taken = [by_name[name] for name in config.takes]
        features = [stage for stage in taken if stage.stage == "features"]
        self.recipe, self.stage = recipe, config.name
        self._takes = [stage.name for stage in taken]
        self.features_stage = features[0] if features else None
        if self.features_stage is not None:
            loader = configure(LoaderConfig, config.data, f"{config.name}.data")
            self.batch_size, self.workers = loader.batch_size, loader.workers
            self.labelled = LabelledData(recipe, self.features_stage)
        else:
            self.labelled = LabelledData(recipe, config)
            self.batch_size, self.workers = self.labelled.config.batch_size, self.labelled.config.workers
        self.taught, self.table = self.labelled.taught, self.labelled.table
        self._taken: Mapping[str, Path] | None = None

    @property
    def cached(self) -> bool:
        """Whether features are read instead of images."""
        return self.features_stage is not None

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the feature maps that are read; none where images are."""
        return tuple(self.features_stage.module.get("layers", ())) if self.features_stage is not None else ()

    def require_layers(self, names: Sequence[str], why: str) -> None:
        """Refuse a features stage that leaves out what is needed.

        Raises:
            ConfigError: A layer is not among those that it computes.
        """
        missing = [name for name in names if name not in self.layers]
        if self.features_stage is not None and missing:
            raise ConfigError(
                f"{self.stage}: {why} reads {', '.join(names)}; add {missing[0]} to "
                f"{self.features_stage.name}.module.layers"
            )

    def check(self) -> None:
        """Find the data before any stage starts."""
        self.labelled.stores  # noqa: B018 - found now, so that a wrong folder is told now

    def bind(self, taken: Mapping[str, Path]) -> StageData:
        """Point to the results of the earlier stages, once they are there."""
        self._taken = taken
        return self

    def crops(self, chosen: Sequence[int] | None = None) -> Dataset[dict[str, Tensor]]:
        """Training samples by number; the same stream for any number of workers.

        Args:
            chosen: Of cached crops, the numbers of those to read; all where not given.
        """
        if self.features_stage is None:
            return self.labelled.crops()
        cache = FeatureCache(Path(self._index()["folder"]))
        return self._with_head(
            CachedCrops(cache, range(self.cached_crops) if chosen is None else chosen, self.recipe.seed)
        )

    @property
    def cached_crops(self) -> int:
        """How many crops the features stage has computed."""
        return int(self._index()["crops"])

    def validation(self, segmenter: Segmenter) -> Dataset[dict[str, Tensor]]:
        """Whole validation images, as a network prepares them, or their features."""
        if self.features_stage is None:
            return self.labelled.whole_images(segmenter)
        index = self._index()
        return self._with_head(CachedImages(FeatureCache(Path(index["folder"])), index["validation"]))

    def _with_head(self, samples: CachedCrops | CachedImages) -> Dataset[dict[str, Tensor]]:
        """Add the layers that are not kept, because a head makes them of those that are."""
        if set(self.layers) <= set(self._index()["stored"]):
            return samples
        host = self.host()
        assert isinstance(host, EncoderNetwork)  # noqa: S101 - all layers of other networks are kept
        return HeadMaps(samples, host, self.layers)

    def host(self) -> Segmenter | None:
        """The network that computed the features, or else the one that an earlier stage has trained."""
        if self.features_stage is not None:
            return load_segmenter(self._folder(self.features_stage.name) / NETWORK)
        return load_segmenter(self._folder(self._takes[0])) if self._takes else None

    def row_weights(self, balance: bool) -> Tensor:
        """``(L,)`` weight of each row of the table, balanced by class frequencies where asked.

        Raises:
            ConfigError: Frequencies are asked for, and no source is labelled in the label space itself.
        """
        if not balance:
            return self.table.weights
        known = self._index()["frequencies"] if self.cached else self.labelled.frequencies()
        if known is None:
            raise ConfigError(
                f"{self.stage}.module.balance needs a source labelled in {self.labelled.config.space} itself"
            )
        return self.table.balance(known)

    def record(self) -> dict[str, Any]:
        """What was read, for the record of a training."""
        return self._index()["record"] if self.cached else self.labelled.record()

    def _folder(self, name: str) -> Path:
        if self._taken is None:
            raise ConfigError(f"{self.stage} has not been given the results of {name} yet")
        return self._taken[name]

    def _index(self) -> dict[str, Any]:
        assert self.features_stage is not None  # noqa: S101 - asked for cached features only
        return dict(read_json(self._folder(self.features_stage.name) / INDEX))
