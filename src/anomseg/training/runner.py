"""Runs a recipe: finished stages are skipped, the broken one is resumed, the last one writes the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomseg.errors import ConfigError
from anomseg.files import read_json, write_json
from anomseg.registry import STAGES
from anomseg.training.recipe import Recipe, StageConfig, load_recipe
from anomseg.training.stages import Stage


def train(
    recipe: str | Path | Recipe, out: str | Path, overrides: Mapping[str, Any] | None = None, *, quiet: bool = False
) -> dict[str, Any]:
    """Run a recipe.

    Args:
        recipe: A shipped recipe's name, a YAML file, or a recipe.
        out: Result directory: the last stage's segmenter or detector, and ``stages/<name>`` with logs and
            checkpoints.
        overrides: Values by dotted key.
        quiet: Show no progress.

    Returns:
        The last stage's summary.

    Raises:
        ConfigError: The recipe is not valid, or ``out`` holds stages of another configuration. In a stage that is not
            finished, learning rate, batch size and the like may be lowered.
        DataError: Data cannot be found.
    """
    plan = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    built: list[Stage] = [STAGES.get(stage.stage).factory(plan, stage) for stage in plan.stages]
    folders = [Path(out) / "stages" / stage.name for stage in plan.stages]
    for stage, folder in zip(plan.stages, folders, strict=True):
        record = folder / "stage.json"
        if record.is_file() and not _goes_on(read_json(record), plan, stage):
            raise ConfigError(f"{folder} was started with another configuration; choose another --out or remove it")
    results = [
        Path(out) if stage is plan.stages[-1] else folder / "result"
        for stage, folder in zip(plan.stages, folders, strict=True)
    ]
    by_name = {stage.name: result for stage, result in zip(plan.stages, results, strict=True)}
    pending = [
        (stage, runner, folder, result)
        for stage, runner, folder, result in zip(plan.stages, built, folders, results, strict=True)
        if not ((folder / "stage.json").is_file() and read_json(folder / "stage.json").get("summary"))
    ]
    for _, runner, _, _ in pending:
        runner.check()
    for stage, runner, folder, result in pending:
        lowered = plan.fingerprint(stage, lowered=True)
        state = {"fingerprint": plan.fingerprint(stage), "lowered": lowered, "summary": None}
        write_json(folder / "stage.json", state)
        taken = {name: by_name[name] for name in stage.takes}
        summary = runner.run(folder, result, taken=taken, quiet=quiet)
        write_json(folder / "stage.json", {**state, "summary": summary})
    return dict(read_json(folders[-1] / "stage.json")["summary"])


def _goes_on(record: Mapping[str, Any], plan: Recipe, stage: StageConfig) -> bool:
    """Whether a stage is the one that was started, or an unfinished one with no more than `LOWERED` changed."""
    if record["fingerprint"] == plan.fingerprint(stage):
        return True
    return not record.get("summary") and record.get("lowered") == plan.fingerprint(stage, lowered=True)
