"""Train a network or detector by a recipe; a stopped run goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from anomseg.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

KNOWN = {"--out": True, "--quiet": False, "--debug": False, "--help": False, "-h": False}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "recipe",
        type=str,
        help="name of a shipped recipe (bundled-segmenter) or a YAML file; "
        "change its values with --key.sub VALUE, as in --roots.camvid DIR or "
        "--stages.segmenter.trainer.steps 4000",
    )
    parser.add_argument("--out", type=str, required=True, help="result directory; an unfinished run in it is resumed")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def more_help() -> str:
    """The recipes that ship with the package, and the kinds of stages that a recipe of one's own may have."""
    from anomseg.registry import STAGES
    from anomseg.training.recipe import describe_recipe, recipe_names
    from anomseg.training.stages import Stage  # noqa: F401 - registers the kinds

    recipes = {name: describe_recipe(name) for name in recipe_names()}
    kinds = {entry.name: entry.summary for entry in STAGES}
    return f"\nrecipes:\n{_listed(recipes)}\nkinds of stages:\n{_listed(kinds)}"


def _listed(entries: Mapping[str, str]) -> str:
    width = max(map(len, entries)) + 2
    lines = [
        fill(f"{name:<{width}}{text}", 120, initial_indent="  ", subsequent_indent=" " * (width + 2))
        for name, text in entries.items()
    ]
    return "\n".join(lines) + "\n"


def split_overrides(arguments: Sequence[str], known: Mapping[str, bool] = KNOWN) -> tuple[list[str], list[str]]:
    """Part the command's own options from ``--key.sub value`` overrides of the recipe.

    Args:
        arguments: Those of the command line.
        known: The command's own options, and whether a value follows.
    """
    own: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        name = token.partition("=")[0]
        if not token.startswith("-") or name in known:
            own.append(token)
            if known.get(name) and "=" not in token and rest:
                own.append(rest.pop(0))
        else:
            overrides.append(token)
            if "=" not in token and rest:
                overrides.append(rest.pop(0))
    return own, overrides


def run(options: Namespace) -> int:
    """Train."""
    try:
        import lightning  # noqa: F401 - asked for early, to say what is missing
    except ImportError as error:
        raise ConfigError("training needs the extra 'train': pip install 'anomseg[train]'") from error
    from anomseg.cli.output import say
    from anomseg.training import load_recipe, parse_overrides, train

    recipe = load_recipe(options.recipe, parse_overrides(getattr(options, "overrides", None) or []))
    summary = train(recipe, options.out, quiet=options.quiet)
    figures = ", ".join(f"{key} {value:.4f}" for key, value in summary["validation"].items())
    say(
        f"{summary['recipe']}/{summary['stage']}: {summary['steps']} steps, {summary['images_seen']} images, "
        f"{summary['seconds']:.0f} s, {figures}; written to {options.out}",
        options.quiet,
    )
    return EXIT_OK
