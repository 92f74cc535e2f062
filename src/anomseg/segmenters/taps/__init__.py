"""Feature maps by name from any network: where to listen, and how to lay what is heard out as ``(B, D, h, w)``."""

from anomseg.segmenters.taps.blocks import TransformerBlock, attention_blocks, block_taps
from anomseg.segmenters.taps.layouts import Channels, Grid, Layout, Map, Tokens, Windows
from anomseg.segmenters.taps.modules import measured, module_taps
from anomseg.segmenters.taps.recording import Taps
from anomseg.segmenters.taps.tap import Tap, first_tensor

__all__ = [
    "Channels",
    "Grid",
    "Layout",
    "Map",
    "Tap",
    "Taps",
    "Tokens",
    "TransformerBlock",
    "Windows",
    "attention_blocks",
    "block_taps",
    "first_tensor",
    "measured",
    "module_taps",
]
