"""Training: recipes of resumable stages. Lightning is imported only when a stage runs."""

from anomseg.training.recipe import load_recipe, parse_overrides, recipe_names
from anomseg.training.runner import train

__all__ = ["load_recipe", "parse_overrides", "recipe_names", "train"]
