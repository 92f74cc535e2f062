"""Recipes: an ordered list of training stages in YAML, validated before anything starts."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import yaml

from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.registry import convert_options

Config = TypeVar("Config")

LOWERED = (
    "trainer.learning_rate",
    "trainer.clip",
    "trainer.precision",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.channels_last",
    "data.batch_size",
    "data.workers",
    "data.memory",
    "data.augment.crop",
    "module.options.size",
    "module.flow_trainer.learning_rate",
    "module.flow_trainer.clip",
)
"""What may change in a stage that is not finished, so that one that diverged or ran out of memory can go on."""


@dataclass(frozen=True)
class StageConfig:
    """One stage as written: what to train, on what, how long, what it reads and what it leaves.

    Attributes:
        name: Name of the stage within its recipe.
        stage: Registered kind of stage.
        module: Options of the network and its loss.
        data: Options of the data.
        trainer: Options of the optimisation.
        takes: Names of earlier stages whose results it reads.
        gives: What it writes: ``"segmenter"``, ``"detector"``, ``"features"``, ``"flow"``, ``"generator"`` or
            ``"folds"``.
    """

    name: str
    stage: str
    module: Mapping[str, Any]
    data: Mapping[str, Any]
    trainer: Mapping[str, Any]
    takes: tuple[str, ...] = ()
    gives: str = "segmenter"

    def require_gives(self, result: str) -> None:
        """Refuse a stage that is said to leave something else than its kind does.

        Raises:
            ConfigError: It gives something else than ``result``.

        Example:
            >>> StageConfig("draw", "synthesis", {}, {}, {}, gives="flow").require_gives("generator")
            Traceback (most recent call last):
            anomseg.errors.ConfigError: draw gives a generator; write gives: generator
        """
        if self.gives != result:
            raise ConfigError(f"{self.name} gives a {result}; write gives: {result}")

    def require_no_takes(self) -> None:
        """Refuse a stage that is given another's result where its kind reads none.

        Raises:
            ConfigError: It takes something.
        """
        if self.takes:
            raise ConfigError(f"{self.name} takes no other stage's result; leave takes out")


@dataclass(frozen=True)
class Recipe:
    """A named list of stages with one seed and the folders of the data.

    Attributes:
        name: Name of the recipe.
        seed: Seed of every random choice.
        roots: Folder of each data set, by benchmark name.
        stages: The stages, in order.
    """

    name: str
    seed: int
    roots: Mapping[str, str | None]
    stages: tuple[StageConfig, ...]

    def fingerprint(self, stage: StageConfig, *, lowered: bool = False) -> str:
        """Hash of a stage's configuration and of all that came before it; the data's folder may move.

        Args:
            stage: The stage.
            lowered: Leave out what a training that broke off may go on with otherwise, see `LOWERED`.
        """
        upto = [copy.deepcopy(vars(one)) for one in self.stages[: self.stages.index(stage) + 1]]
        if lowered:
            for *path, key in (dotted.split(".") for dotted in LOWERED):
                node = upto[-1]
                for step in path:
                    node = node.get(step) or {}
                node.pop(key, None)
        text = json.dumps([self.seed, upto], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("anomseg.training").joinpath("recipes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def describe_recipe(name: str) -> str:
    """The first sentence of a shipped recipe's own words.

    Example:
        >>> describe_recipe("street-hazards-pans")
        'PAnS with its published settings (Fontanel et al., CVPRW 2021) on StreetHazards.'
    """
    text = resources.files("anomseg.training").joinpath("recipes", f"{name}.yaml").read_text("utf-8")
    lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
    words = " ".join(line.removeprefix("#").strip() for line in lines)
    # "et al." ends no sentence.
    return re.split(r"(?<!\bal)(?<=\.)\s", words, maxsplit=1)[0]


def load_recipe(what: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        what: A YAML file, or the name of a shipped recipe.
        overrides: Values by dotted key; a stage is addressed by its name, as in
            ``stages.segmenter.trainer.max_steps``.

    Returns:
        The recipe, its structure checked.

    Raises:
        DataError: The file cannot be read.
        ConfigError: An unknown recipe, key or stage (the nearest known one is suggested).
    """
    if Path(what).suffix in (".yaml", ".yml"):
        try:
            text = Path(what).read_text("utf-8")
        except OSError as error:
            raise DataError(f"cannot read the recipe {what}: {error.strerror or error}") from error
    else:
        if str(what) not in recipe_names():
            raise unknown_name("recipe", str(what), recipe_names())
        text = resources.files("anomseg.training").joinpath("recipes", f"{what}.yaml").read_text("utf-8")
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict) or not isinstance(tree.get("stages"), list) or not tree["stages"]:
        raise ConfigError(f"{what} needs a mapping with a list of 'stages'")
    tree = _unshared(tree)
    tree.setdefault("roots", {})
    named = set(tree["roots"] or {})
    for key, value in (overrides or {}).items():
        _override(tree, key, value)
    _check_keys(tree, ("recipe", "seed", "roots", "stages"), "recipe key")
    stages = []
    for raw in tree["stages"]:
        if not isinstance(raw, dict) or "name" not in raw or "stage" not in raw:
            raise ConfigError(f"each stage of {what} needs a 'name' and a 'stage'")
        _check_keys(raw, [field.name for field in fields(StageConfig)], f"key of stage {raw['name']}")
        parts = {"module": {}, "data": {}, "trainer": {}, **raw}
        takes = raw.get("takes") or ()
        stages.append(StageConfig(**{**parts, "takes": (takes,) if isinstance(takes, str) else tuple(takes)}))
    _check_keys(tree["roots"] or {}, sorted(named | _data_sets(stages)), f"data set of {what}")
    names = [stage.name for stage in stages]
    for position, stage in enumerate(stages):
        for taken in stage.takes:
            if taken not in names[:position]:
                raise ConfigError(f"stage {stage.name} takes {taken!r}, which no earlier stage gives")
    seed = _whole_number("seed", tree.get("seed", 0))
    return Recipe(str(tree.get("recipe", Path(what).stem)), seed, dict(tree["roots"]), tuple(stages))


def _data_sets(stages: Sequence[StageConfig]) -> set[str]:
    """Names of the data sets and of the sources of negatives that stages read."""
    found = set()
    for stage in stages:
        sources = stage.data.get("sources")
        for one in [*(sources if isinstance(sources, list) else []), stage.data.get("validation")]:
            if isinstance(one, Mapping) and "benchmark" in one:
                found.add(str(one["benchmark"]))
        found |= _negatives(stage.data.get("negatives"))
    return found


def _negatives(data: Any) -> set[str]:
    """Names of the sources of negatives, and of the data sets that those are compared with."""
    if not isinstance(data, Mapping):
        return set()
    sources = data.get("sources")
    named = [one.get("negatives") for one in (sources if isinstance(sources, list) else []) if isinstance(one, Mapping)]
    compared = data.get("evaluation", ("road_anomaly", "road_anomaly_21"))
    named += list(compared) if isinstance(compared, list | tuple) else []
    return {str(name).partition(":")[0] for name in named}


def configure(cls: type[Config], values: Mapping[str, Any], what: str) -> Config:
    """Build a configuration dataclass from a mapping, types checked.

    Args:
        cls: A dataclass.
        values: Its values.
        what: What is configured, for messages.

    Raises:
        ConfigError: An unknown key (nearest suggested), a missing one, or a value of the wrong type or range.
    """
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    _check_keys(values, known, f"key of {what}")
    options = convert_options(cls, values, what)
    try:
        return cls(**options)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{what}: {error}") from error


def parse_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Read ``--key.sub value`` and ``--key.sub=value`` pairs.

    Raises:
        ConfigError: Something is not such a pair.

    Example:
        >>> parse_overrides(["--seed", "1", "--roots.camvid=CamVid"])
        {'seed': '1', 'roots.camvid': 'CamVid'}
    """
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        key = rest.pop(0)
        if not key.startswith("--"):
            raise ConfigError(f"{key!r} is no recipe override; write --key.sub value")
        key, equals, value = key[2:].partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"--{key} needs a value")
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def _whole_number(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} is a whole number from 0, got {value!r}")
    return value


def _check_keys(values: Mapping[str, Any], known: Sequence[str], kind: str) -> None:
    for key in values:
        if key not in known:
            raise unknown_name(kind, str(key), known)


def _unshared(node: Any) -> Any:
    """A copy in which what anchors of YAML repeat is there as often, so that an override changes one stage alone."""
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    return [_unshared(value) for value in node] if isinstance(node, list) else node


def _override(tree: dict[str, Any], dotted: str, value: Any) -> None:
    node: Any = tree
    *path, last = dotted.split(".")
    for step in path:
        if isinstance(node, list):
            names = [str(item.get("name")) for item in node]
            if step not in names:
                raise unknown_name("stage", step, names)
            node = node[names.index(step)]
        else:
            if step not in node:
                raise unknown_name("recipe key", step, node)
            node = node[step]
    if not isinstance(node, dict):
        raise ConfigError(f"--{dotted} does not name a value of the recipe")
    node[last] = yaml.safe_load(value) if isinstance(value, str) else value
