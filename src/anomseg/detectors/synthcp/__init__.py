"""SynthCP: render what a segmentation says, then compare with the image (Xia et al., ECCV 2020)."""

from anomseg.detectors.synthcp.generator import (
    SPADEGenerator,
    generator_meta,
    is_generator_directory,
    load_generator,
    one_hot_layout,
    rebuild_generator,
    save_generator,
)

__all__ = [
    "SPADEGenerator",
    "generator_meta",
    "is_generator_directory",
    "load_generator",
    "one_hot_layout",
    "rebuild_generator",
    "save_generator",
]
