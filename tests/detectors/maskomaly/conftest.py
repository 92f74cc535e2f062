"""The tiny networks of transformers that the segmenters' tests build are importable here too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "segmenters"))
