"""Negatives: images of something else, which regime lets them in, and how they are put on training images."""

from anomseg.data.negatives.categories import TESTED_CATEGORIES, is_excluded, is_tested, tested_category
from anomseg.data.negatives.negative import Negative, Region
from anomseg.data.negatives.paster import Pasted, PasteConfig, Paster, Patch
from anomseg.data.negatives.regimes import REGIMES, split_by_regime
from anomseg.data.negatives.sources import NEGATIVES, load_negatives

__all__ = [
    "NEGATIVES",
    "REGIMES",
    "TESTED_CATEGORIES",
    "Negative",
    "PasteConfig",
    "Pasted",
    "Paster",
    "Patch",
    "Region",
    "is_excluded",
    "is_tested",
    "load_negatives",
    "split_by_regime",
    "tested_category",
]
