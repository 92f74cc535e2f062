"""Detectors that score a trained method's networks in another way than the method does: made, not trained."""

from __future__ import annotations

from learned_sets import UNTRAINED, VARIANTS, Paths, TrainingSet

from anomseg.detectors import load_detector, save_detector


def make_variants(one: TrainingSet, seed: int, paths: Paths) -> None:
    """Write the variants of the methods that are trained, and of their untrained versions; those there stay."""
    for name, (method, options) in VARIANTS.items():
        for version in ("", f"-{UNTRAINED}"):
            source, target = (paths.method(one, seed, f"{key}{version}") for key in (method, name))
            if (source / "detector.json").is_file() and not (target / "detector.json").is_file():
                detector = load_detector(source)
                for key, value in options.items():
                    setattr(detector, key, value)
                save_detector(detector, target)
