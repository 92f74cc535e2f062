"""The labelled data that a recipe's stage names: configuration checked early, frames found when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from anomseg.data import LabelSpace, dataset_spec
from anomseg.errors import ConfigError
from anomseg.segmenters import Segmenter
from anomseg.training.augment import AugmentConfig
from anomseg.training.label_table import LabelTable, TaughtClasses
from anomseg.training.labelled import CropDataset, FrameStore, LabelledConfig, SourceConfig, load_source
from anomseg.training.negatives import NegativeData
from anomseg.training.recipe import Recipe, StageConfig, configure
from anomseg.training.whole_images import WholeImages
from anomseg.types import Frame


class LabelledData:
    """Training sources and validation set of a stage.

    Args:
        recipe: The recipe it belongs to.
        config: The stage whose ``data`` names them.

    Raises:
        ConfigError: The configuration is not valid.

    Attributes:
        config: The configuration.
        seed: Seed of the stream of crops.
        taught: The classes that a network is to know.
        table: Every source's labels as rows of one table; the validation set's come last.
        sources: Configuration of each training source.
        validation: Configuration of the validation set.
        negatives: What is pasted on the images; None where nothing is.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.stage, self.roots = config.name, recipe.roots
        self.config = configure(LabelledConfig, config.data, f"{config.name}.data")
        self.seed = recipe.seed if self.config.seed is None else self.config.seed
        self.augment = configure(AugmentConfig, self.config.augment, f"{config.name}.data.augment")
        self.sources = [configure(SourceConfig, one, f"{config.name}.data.sources") for one in self.config.sources]
        if not self.sources:
            raise ConfigError(f"{config.name}.data.sources is empty; name at least one data set")
        if not any(one.share for one in self.sources):
            raise ConfigError(f"{config.name}.data.sources: every share is 0; give one of them more")
        self.validation = configure(SourceConfig, self.config.validation, f"{config.name}.data.validation")
        wanted = self.config.negatives
        self.negatives = NegativeData(wanted, self.roots, config.name) if wanted else None
        self.taught = TaughtClasses(self.config.space, self.config.held_out)
        every = [*self.sources, self.validation]
        self.spaces = [_space(source.benchmark) for source in every]
        self.table = LabelTable(self.taught, self.spaces, [source.loss_weight for source in every])
        self._stores: list[FrameStore] | None = None

    @property
    def stores(self) -> list[FrameStore]:
        """Frames of each source, then those of the validation set, whose held-out pixels are void; found once.

        Raises:
            ConfigError: A folder is not given.
            DataError: A folder cannot be used, or nothing is left of a source.
        """
        if self._stores is None:
            roots, limit, withheld, memory = self.roots, self.config.limit, self.taught.withheld, self.config.memory
            found = [
                load_source(source, roots, limit, withheld(space), self.config.held_out_images, memory)
                for source, space in zip(self.sources, self.spaces[:-1], strict=True)
            ]
            found.append(load_source(self.validation, roots, limit, withheld(self.spaces[-1]), "void", memory))
            if self.negatives is not None:
                self.negatives.find()
            self._stores = found
        return self._stores

    def crops(self) -> CropDataset:
        """The seeded stream of training crops."""
        shares = [source.share for source in self.sources]
        data = (self.stores[:-1], shares, self.table, self.augment, self.seed)
        magnify = [source.magnify for source in self.sources]
        if self.negatives is None:
            return CropDataset(*data, magnify=magnify)
        return CropDataset(*data, self.negatives.paster(), self.negatives.config.tries, magnify)

    def whole_images(self, segmenter: Segmenter) -> Dataset[dict[str, Tensor]]:
        """The validation images as a network prepares them, with negatives of their own pasted where any are."""
        lookup = self.taught.lookup(self.spaces[-1])
        paster = self.negatives.paster(validation=True) if self.negatives is not None else None
        return WholeImages(self.stores[-1], segmenter, self.table, len(self.sources), lookup, paster, self.seed)

    def exact_source(self) -> int | None:
        """Which training source is labelled in the label space itself; None where none is."""
        return next((i for i, space in enumerate(self.spaces[:-1]) if space.name == self.config.space), None)

    def frequencies(self) -> list[float] | None:
        """Share of each taught class among the labelled pixels of `exact_source`; None where there is none."""
        exact = self.exact_source()
        if exact is None:
            return None
        return self.stores[exact].class_frequencies(self.taught.lookup(self.spaces[exact]), len(self.taught.names))

    def record(self) -> dict[str, Any]:
        """What was read, for the record of a training: frames of each source, held-out classes."""
        every: Sequence[SourceConfig] = [*self.sources, self.validation]
        found: dict[str, Any] = {
            "data": {f"{one.benchmark}/{one.split}": len(store) for one, store in zip(every, self.stores, strict=True)}
        }
        if self.negatives is not None:
            found["negatives"] = self.negatives.record()
        return found | self.withheld()

    def withheld(self) -> dict[str, Any]:
        """The part of the record on held-out classes; empty where there are none."""
        if not self.config.held_out:
            return {}
        return {"held_out": {"classes": list(self.config.held_out), "images": self.config.held_out_images}}

    def training_frames(self) -> list[Frame]:
        """The frames of all training sources."""
        return [frame for store in self.stores[:-1] for frame in store.frames]


def _space(benchmark: str) -> LabelSpace:
    """The label space of a data set's classes."""
    space = dataset_spec(benchmark).label_space
    if space is None:
        raise ConfigError(f"{benchmark} has anomaly labels but no classes to learn; name a data set with class maps")
    return space
