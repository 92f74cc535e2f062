"""The cases that a recipe's stage names: configuration checked early, cases found when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anomseg.data.volumes import CASES, Case, case_fingerprint, load_cases, with_targets
from anomseg.detectors.fitting import digest_of
from anomseg.errors import ConfigError
from anomseg.registry import Spec
from anomseg.training.bounds import check_bounds
from anomseg.training.recipe import Recipe, StageConfig, configure


@dataclass(frozen=True)
class CaseSource:
    """A set of cases.

    Attributes:
        benchmark: Its name (``phantoms``, ``nifti``, ``msd_pancreas``); its folder is in the recipe's ``roots``.
        options: Of the set.
        parts: ``i/n``, see `load_cases`.
        limit: The first cases only.
    """

    benchmark: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parts: str = ""
    limit: int | None = None

    def load(self, roots: Mapping[str, str | None]) -> list[Case]:
        """The cases."""
        texts = {key: one if isinstance(one, str) else json.dumps(one) for key, one in self.options.items()}
        return load_cases(
            Spec(self.benchmark, None, texts), roots.get(self.benchmark), parts=self.parts, limit=self.limit
        )

    def __str__(self) -> str:
        options = ";".join(f"{key}={value}" for key, value in self.options.items())
        return self.benchmark + (f":{options}" if options else "") + (f" part {self.parts}" if self.parts else "")


@dataclass(frozen=True)
class CaseDataConfig:
    """What a stage on volumes learns from.

    Attributes:
        sources: Sets of cases, each as `CaseSource` says.
        validation: One more, which nothing is learned from.
        batch_size: Slices, or volumes in three dimensions, a step; for comparators in two, runs of slices.
        slices: Neighbouring slices in a run.
        workers: Loader processes.
        memory: Megabytes of prepared cases that are kept; what goes beyond is prepared anew each time.
    """

    sources: Sequence[Mapping[str, Any]] = ()
    validation: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 4
    slices: int = 6
    workers: int = 0
    memory: int = 1024

    def __post_init__(self) -> None:
        for name in ("batch_size", "slices"):
            check_bounds(name, getattr(self, name), 1)
        for name in ("workers", "memory"):
            check_bounds(name, getattr(self, name), 0)
        if not self.sources or not self.validation:
            raise ConfigError("sources and validation each name a set of cases, such as {benchmark: phantoms}")


class CaseData:
    """Cases of a stage.

    Args:
        recipe: The recipe it belongs to.
        config: The stage whose ``data`` names them.
        targets: What is judged; ``foreground`` merges all classes.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig, targets: Sequence[str]) -> None:
        self.roots, self.stage, self.targets = recipe.roots, config.name, tuple(targets)
        self.config = configure(CaseDataConfig, config.data, f"{config.name}.data")
        what = f"{config.name}.data.sources"
        self.sources = [configure(CaseSource, one, what) for one in self.config.sources]
        self.validation_source = configure(CaseSource, self.config.validation, f"{config.name}.data.validation")
        for source in (*self.sources, self.validation_source):
            CASES.get(source.benchmark)
        self._found: tuple[list[Case], list[Case]] | None = None

    @property
    def cases(self) -> list[Case]:
        """What is learned from."""
        return self._both()[0]

    @property
    def validation(self) -> list[Case]:
        """What is not."""
        return self._both()[1]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the masks' classes, the same in all cases."""
        return self.cases[0].classes

    def _both(self) -> tuple[list[Case], list[Case]]:
        if self._found is None:
            learned = [case for source in self.sources for case in source.load(self.roots)]
            told = self.validation_source.load(self.roots)
            found = [[with_targets(case, self.targets) for case in cases] for cases in (learned, told)]
            several = {case.classes for cases in found for case in cases}
            if len(several) > 1:
                raise ConfigError(
                    f"{self.stage}.data: sets name other classes ({'; '.join(map(', '.join, sorted(several)))}); use "
                    "sets of the same labels, or targets: [foreground]"
                )
            self._found = (found[0], found[1])
        return self._found

    def record(self) -> dict[str, Any]:
        """What the summary of a training says of its data."""
        told = [str(source) for source in self.sources]
        return {"data": told, "cases": len(self.cases), "validation_data": str(self.validation_source)}

    def fitted_on(self, skipped: Iterable[str], summary: Mapping[str, Any]) -> dict[str, Any]:
        """The ``fitted_on`` of what was learned from these cases."""
        gone = set(skipped)
        prints = sorted({case_fingerprint(case) for case in self.cases if case.id not in gone})
        return {
            "data": ", ".join(self.record()["data"]),
            "frames": len(prints),
            "sha256": digest_of(prints),
            "fingerprints": prints,
            "skipped": sorted(gone),
            "segmenter": None,
            "training": dict(summary),
        }
