"""Makes the tiny networks and trees of other tests importable here."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
for folder in ("segmenters", "training"):
    if str(TESTS / folder) not in sys.path:
        sys.path.append(str(TESTS / folder))
