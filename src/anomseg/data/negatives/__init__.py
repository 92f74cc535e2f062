"""Negatives: images of something else, which regime lets them in, and how they are put on training images."""

from anomseg.data.negatives.categories import TESTED_CATEGORIES, is_excluded, is_tested, which_tested
from anomseg.data.negatives.drawing import mix_negatives
from anomseg.data.negatives.duplicates import Duplicate, NearDuplicates, Screened, perceptual_hash
from anomseg.data.negatives.inliers import inlier_regions
from anomseg.data.negatives.negative import Negative, Region
from anomseg.data.negatives.paste_config import PasteConfig
from anomseg.data.negatives.paster import Pasted, Paster, Patch
from anomseg.data.negatives.regimes import REGIMES, split_by_regime
from anomseg.data.negatives.sources import NEGATIVES, load_negatives

__all__ = [
    "NEGATIVES",
    "REGIMES",
    "TESTED_CATEGORIES",
    "Duplicate",
    "NearDuplicates",
    "Negative",
    "PasteConfig",
    "Pasted",
    "Paster",
    "Patch",
    "Region",
    "Screened",
    "inlier_regions",
    "is_excluded",
    "is_tested",
    "load_negatives",
    "mix_negatives",
    "perceptual_hash",
    "split_by_regime",
    "which_tested",
]
