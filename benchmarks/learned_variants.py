"""Detectors that score a trained method's networks in another way than the method does: made, not trained."""

from __future__ import annotations

from learned_sets import ALL_VARIANTS, FITTED_VARIANTS, UNTRAINED, Paths, TrainingSet

from anomseg.data import load_frames
from anomseg.detectors import Detector, load_detector, save_detector
from anomseg.segmenters import load_segmenter


def make_variants(one: TrainingSet, seed: int, paths: Paths) -> None:
    """Write the variants of the methods that are trained, and of their untrained versions; those there stay.

    What need not be fitted is made with the first seed only.
    """
    for name, (method, options) in ALL_VARIANTS.items():
        if seed != one.seeds[0] and name not in FITTED_VARIANTS:
            continue
        for version in ("", f"-{UNTRAINED}"):
            source, target = (paths.method(one, seed, f"{key}{version}") for key in (method, name))
            if (source / "detector.json").is_file() and not (target / "detector.json").is_file():
                detector = load_detector(source)
                for key, value in options.items():
                    setattr(detector, key, value)
                if not detector.is_fitted:
                    fit_variant(detector, one, seed, paths)
                save_detector(detector, target)


def fit_variant(detector: Detector, one: TrainingSet, seed: int, paths: Paths) -> None:
    """Fit a variant on the images that its method was trained on: those that show no held-out class."""
    frames = load_frames(
        "camvid", root=paths.data / "camvid", split="train", held_out=one.held_out, held_out_images="drop"
    )
    detector.fit(load_segmenter(paths.host(one, seed)), frames)
