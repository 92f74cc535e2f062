"""Draw training samples of a recipe: images, labels, and what is pasted on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.train import KNOWN as KNOWN_TO_TRAIN
from anomseg.errors import EXIT_OK

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

KNOWN = {**KNOWN_TO_TRAIN, "--stage": True, "--count": True}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "recipe", type=str, help="name of a shipped recipe or a YAML file; change its values with --key.sub VALUE"
    )
    parser.add_argument("--stage", type=str, default=None, help="whose samples; the first stage with labelled data")
    parser.add_argument("--count", type=int, default=16, help="how many, from the first on")
    parser.add_argument("--out", type=str, required=True, help="folder of the pictures")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(options: Namespace) -> int:
    """Draw them as the stage's training would be shown them."""
    from anomseg.cli.output import Progress, say
    from anomseg.training import load_recipe, parse_overrides
    from anomseg.training.sample_sheet import SHEET, draw_samples

    recipe = load_recipe(options.recipe, parse_overrides(getattr(options, "overrides", None) or []))
    with Progress(f"drawing samples of {recipe.name}", options.quiet) as progress:
        drawn = draw_samples(recipe, options.out, options.stage, options.count, progress)
    pasted = "" if drawn.pasted is None else f", {drawn.pasted} with something pasted"
    say(f"{len(drawn.files)} samples of {drawn.stage}{pasted}; {options.out}/{SHEET} shows them", options.quiet)
    return EXIT_OK
