"""What docs/claims-pgan.md measures: versions of the PGAN-style reconstruction, each one override or two away."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from learned_plan import Step

BASE = "base"


@dataclass(frozen=True)
class Version:
    """One version.

    Attributes:
        key: Its folder, less the seed.
        group: The table that it stands in.
        title: Its name there.
        module: Options of the stage that differ from the recipe's.
        steps: Optimiser steps, where they are not those of the others.
    """

    key: str
    group: str
    title: str
    module: tuple[tuple[str, str], ...] = ()
    steps: int | None = None


LEVELS, TREE, SIMILARITY, PROTOTYPES, LOSSES, START, CURVE = (
    "Levels", "Category tree", "Similarity", "Prototypes", "Losses", "Start and training", "Annotated images",
)  # fmt: skip
COUNTS = (1, 5, 20, 50)
VERSIONS = (
    Version(BASE, "", "as the recipe (3 levels, tree, cosine, 3 averaged prototypes a class)"),
    *(Version(f"level-{name}", LEVELS, f"{name} alone", (("levels", name),)) for name in ("stage2", "encoder")),
    Version("level-bottleneck", LEVELS, "bottleneck alone", (("levels", "bottleneck"),)),
    Version("tree-none", TREE, "no tree", (("tree", "none"),)),
    Version("tree-term", TREE, "parent agreement in the score too", (("parent_term", "true"),)),
    Version("euclidean", SIMILARITY, "minus the Euclidean distance", (("similarity", "euclidean"),)),
    Version("dot", SIMILARITY, "dot product, embeddings of any length", (("similarity", "dot"),)),
    Version("learned", PROTOTYPES, "learned by gradients, with separation", (("update", "learned"),)),
    Version("one", PROTOTYPES, "1 a class", (("prototypes", "1"),)),
    Version("ten", PROTOTYPES, "10 a class", (("prototypes", "10"),)),
    *(
        Version(f"without-{name}", LOSSES, f"without {name}", ((name, "0"),))
        for name in ("segmentation", "parent", "contrast", "compactness")
    ),
    Version("without-separation", LOSSES, "learned, without separation", (("update", "learned"), ("separation", "0"))),
    Version("random", START, "prototypes begin at random directions", (("init", "random"),)),
    Version("untrained", START, "no optimiser step: support set alone", (), 0),
    *(
        Version(f"annotated-{count}", CURVE, str(count), (("annotated", str(count)), ("absent", "mask")))
        for count in COUNTS
    ),
)


@dataclass(frozen=True)
class Setup:
    """Where things lie and how much is done.

    Attributes:
        data: Folder that holds camvid.
        host: The network that all versions are attached to.
        held_out: The class that it was not taught.
        work: Where everything is kept.
        cache: Folder of the feature cache that all versions share.
        steps: Optimiser steps of each version.
        seeds: Seeds of the learning curve and of the recipe's version; the others have the first one.
        versions: Patterns of the keys of those that are measured, beside the recipe's own.
    """

    data: Path
    host: Path
    held_out: str
    work: Path
    cache: Path
    steps: int
    seeds: tuple[int, ...]
    versions: tuple[str, ...] = ("*",)

    def folder(self, version: Version, seed: int) -> Path:
        """Folder of a trained version."""
        return self.work / "trained" / f"{version.key}-{seed}"

    def wanted(self) -> list[tuple[Version, int]]:
        """Versions and seeds, the most telling first."""
        first, *others = self.seeds
        chosen = [one for one in VERSIONS if any(fnmatch(one.key, pattern) for pattern in self.versions)]
        curve = [one for one in chosen if one.group == CURVE]
        rest = [one for one in chosen if one.group not in ("", CURVE)]
        base = VERSIONS[0]
        return [
            (base, first),
            *((one, first) for one in (*reversed(curve), *rest)),
            *((one, seed) for seed in others for one in (base, *reversed(curve))),
        ]

    def run(self) -> Path:
        """Folder of the evaluation, named after what it holds."""
        names = "\n".join(f"{one.key}-{seed}" for one, seed in self.wanted())
        return self.work / f"run-{hashlib.sha256(names.encode()).hexdigest()[:8]}"


def training(setup: Setup, version: Version, seed: int) -> Step:
    """The training of one version."""
    steps = setup.steps if version.steps is None else version.steps
    out = setup.folder(version, seed)
    words = [
        *("train", "camvid-pgan", "--roots.camvid", str(setup.data / "camvid"), "--seed", str(seed)),
        *("--stages.features.module.start", str(setup.host)),
        *("--stages.features.module.cache", str(setup.cache)),
        *("--stages.features.data.held_out", f"[{setup.held_out}]", "--stages.features.data.seed", "0"),
        # As in learned_plan.py, whose crops are then the same and need not be computed again.
        *("--stages.features.module.images", "true"),
        *("--stages.pgan.module.attached", "true"),
        *("--stages.pgan.trainer.steps", str(steps), "--stages.pgan.trainer.validate_every", str(max(steps, 1))),
    ]
    for name, value in version.module:
        words += [f"--stages.pgan.module.{name}", value]
    words += ["--out", str(out), "--quiet"]
    name = f"train/{version.key}-{seed}"
    return Step(name, tuple(words), out, "detector.json", (setup.host / "segmenter.json",), "pgan")


def evaluation(setup: Setup) -> Step:
    """One evaluation of all versions, which share the host's pass, beside two scores of the host alone."""
    folders = [setup.folder(version, seed) for version, seed in setup.wanted()]
    words = ["evaluate", "--benchmark", "camvid", "--root", str(setup.data / "camvid"), "--split", "test"]
    words += ["--held-out", setup.held_out, "--segmenter", str(setup.host)]
    for name in (*map(str, folders), "msp", "max_logit", "position_prior"):
        words += ["--detector", name]
    out = setup.run()
    words += ["--out", str(out), "--quiet"]
    return Step("evaluate", tuple(words), out, "report.html", tuple(one / "detector.json" for one in folders))


def all_steps(setup: Setup) -> list[Step]:
    """Every training, then the evaluation."""
    return [*(training(setup, version, seed) for version, seed in setup.wanted()), evaluation(setup)]


def by_group(versions: Sequence[Version]) -> dict[str, list[Version]]:
    """Versions by table, the recipe's own left out."""
    found: dict[str, list[Version]] = {}
    for one in versions:
        if one.group:
            found.setdefault(one.group, []).append(one)
    return found
