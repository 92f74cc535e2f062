"""One image and where its segmentation is likely wrong: the error map, the foretold quality of classes, files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.inference.colour import (
    BoolArray,
    FloatArray,
    Range,
    blend,
    colour_classes,
    colourise,
    draw_outline,
    grey,
    normalise,
    score_range,
)
from anomseg.inference.inputs import safe_name
from anomseg.inference.legend import add_colour_bar, add_legend
from anomseg.inference.outputs import Outputs, check_range
from anomseg.inference.provenance import plain
from anomseg.inference.result_files import picture_suffix, write_files
from anomseg.inference.writers import as_dtype, write_hdf5, write_mask, write_npy, write_picture, write_segmentation
from anomseg.types import Measure, UInt8Array


@dataclass(frozen=True, eq=False)
class FailureAssessment:
    """What `predict(..., task="failure")` finds in one image, all at the image's own size.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        segmentation: ``(H, W)`` uint8 class indices, what the network says.
        classes: Its class names.
        palette: One RGB triple a class.
        error_map: ``(H, W)`` float32, finite, higher = more likely wrong; None where the detector judges no pixels.
            Outside the region of interest it holds the lowest value inside.
        class_quality: ``(C,)`` float32, the overlap of prediction and truth to expect of each class, NaN where nothing
            is said of one; None where the detector judges no classes.
        measure: The overlap that is meant: ``iou`` or ``dice``.
        provenance: What made it, JSON-ready; see the sidecar that `save` writes.
        bounded: The error map lies in [0, 1] by construction.
        name: Names its files; unique in a run.
        roi: ``(H, W)`` bool, True inside the region of interest; None where that is the whole image.
        threshold: Score from which a pixel counts as wrong, for `mask`.
        pictures: ``(H, W, 3)`` uint8 by name, what the detector shows besides, see `Detector.pictures`.
    """

    image: UInt8Array
    segmentation: UInt8Array
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    error_map: FloatArray | None
    class_quality: FloatArray | None
    measure: Measure = "iou"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    bounded: bool = False
    name: str = "image"
    roi: BoolArray | None = None
    threshold: float | None = None
    pictures: Mapping[str, UInt8Array] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """Name of the error score, for labels."""
        return str(self.provenance.get("score", {}).get("name", "error score"))

    @property
    def shares(self) -> dict[str, float]:
        """Share of the image that the segmentation gives to each class, by name."""
        pixels = np.bincount(self.segmentation.ravel(), minlength=len(self.classes))[: len(self.classes)]
        return {name: float(count / self.segmentation.size) for name, count in zip(self.classes, pixels, strict=True)}

    @property
    def quality(self) -> dict[str, float | None]:
        """`class_quality` by class name, None where nothing is said of one; empty where no class is judged."""
        if self.class_quality is None:
            return {}
        values = self.class_quality.tolist()
        return {name: None if np.isnan(value) else value for name, value in zip(self.classes, values, strict=True)}

    @property
    def mean_quality(self) -> float | None:
        """Mean expected overlap of the classes that the segmentation shows; None where nothing is said of them."""
        shares = self.shares
        told = [value for name, value in self.quality.items() if value is not None and shares[name] > 0]
        return float(np.mean(told)) if told else None

    def range(self) -> Range:
        """Values at both ends of the pictures' colours: [0, 1] if bounded, else percentiles 1 and 99.5.

        Raises:
            CompatibilityError: There is no error map.
        """
        return score_range(self._map(), bounded=self.bounded, inside=self.roi)

    def mask(self, threshold: float | None = None) -> BoolArray:
        """Where the error map reaches a threshold, inside the region of interest; ``(H, W)`` bool.

        Args:
            threshold: The assessment's own where not given.

        Raises:
            ConfigError: There is no threshold.
            CompatibilityError: There is no error map.
        """
        level = self.threshold if threshold is None else threshold
        if level is None:
            raise ConfigError(f"{self.name} has no threshold; give the score from which a pixel counts as wrong")
        found = self._map() >= level
        return found if self.roi is None else found & self.roi

    def picture(self, range: Range | None = None, *, bar: bool = True) -> UInt8Array:
        """The error map alone, in colours.

        Args:
            range: Values at both ends of the colours; `range()` when not given.
            bar: Add a colour bar to the right.

        Returns:
            ``(H, W', 3)`` uint8 RGB.

        Raises:
            CompatibilityError: There is no error map.
            ConfigError: The range is empty.
        """
        limits = check_range(range) if range is not None else self.range()
        drawn = colourise(self._map(), limits)
        return add_colour_bar(drawn, limits, self.score_name) if bar else drawn

    def overlay(self, range: Range | None = None, *, threshold: float | None = None, bar: bool = True) -> UInt8Array:
        """The error map over the segmentation: classes in their colours, bright where they are likely wrong.

        Args:
            range: Values at both ends of the colours; `range()` when not given.
            threshold: Outline what reaches it, and mark it on the bar.
            bar: Add a legend of the classes and a colour bar to the right.

        Returns:
            ``(H, W', 3)`` uint8 RGB.

        Raises:
            CompatibilityError: There is no error map.
            ConfigError: The range is empty.
        """
        limits = check_range(range) if range is not None else self.range()
        heat = normalise(self._map(), limits)
        # The root lets middling values show on colours that are not theirs.
        drawn = blend(self._segments(), colourise(self._map(), limits), (0.95 * np.sqrt(heat)).astype(np.float32))
        if self.roi is not None:
            drawn = np.where(self.roi[..., None], drawn, self.image)
        if threshold is not None:
            drawn = draw_outline(drawn, self.mask(threshold))
        if not bar:
            return drawn
        present = [int(index) for index in np.unique(self.segmentation)]
        labelled = add_legend(drawn, self.classes, self.palette, present)
        return add_colour_bar(labelled, limits, self.score_name, mark=threshold)

    def save(
        self, directory: str | Path, formats: Sequence[str] = ("png", "npy"), *, threshold: float | None = None
    ) -> list[Path]:
        """Write the result as files named after the image, the sidecar last.

        ``npy`` and ``hdf5`` give the error map (``<name>_error.npy``); ``png`` gives it as a picture
        (``<name>_error.png``), over the segmentation (``<name>_error_overlay.png``), with a threshold as a mask
        (``<name>_error_mask.png``), and the segmentation. The sidecar ``<name>.json`` has the expected quality of each
        class. A detector that judges no pixels gives the segmentation and the sidecar alone.

        Args:
            directory: Made if missing.
            formats: Any of png, npy, hdf5.
            threshold: Score from which a pixel counts as wrong; the assessment's own where not given.

        Returns:
            The files written, sidecar last.

        Raises:
            ConfigError: A format is unknown.
            FrameError: float16 cannot hold the map; nothing was touched.
            DataError: A file cannot be written, or ``<name>.json`` is somebody else's; nothing was touched.
        """
        return self.write(
            directory, Outputs(tuple(formats), threshold=self.threshold if threshold is None else threshold)
        )

    def write(self, directory: str | Path, outputs: Outputs) -> list[Path]:
        """As `save`, with the options in one object."""
        if "coco" in outputs.formats:
            raise ConfigError("the format coco is of anomalous components, not of failures; leave it out")
        if outputs.half_precision and self.error_map is not None:
            as_dtype(self.error_map, "float16", safe_name(self.name))
        return write_files(
            Path(directory), safe_name(self.name), self._writers(outputs), partial(self.sidecar, outputs)
        )

    def _writers(self, outputs: Outputs) -> dict[str, Callable[[Path], None]]:
        writers: dict[str, Callable[[Path], None]] = {}
        error_map, threshold = self.error_map, outputs.threshold
        if error_map is not None and "npy" in outputs.formats:
            writers["_error.npy"] = lambda path: write_npy(path, error_map, outputs.dtype)
        if error_map is not None and "hdf5" in outputs.formats:
            writers["_error.hdf5"] = lambda path: write_hdf5(path, error_map)
        if "png" not in outputs.formats:
            return writers
        if error_map is not None:
            writers["_error.png"] = lambda path: write_picture(path, self.picture(outputs.range))
            writers["_error_overlay.png"] = lambda path: write_picture(
                path, self.overlay(outputs.range, threshold=threshold)
            )
            if threshold is not None:
                writers["_error_mask.png"] = lambda path: write_mask(path, self.mask(threshold))
        writers["_segmentation.png"] = lambda path: write_segmentation(path, self.segmentation, self.palette)
        for key, picture in self.pictures.items():
            writers[picture_suffix(key)] = partial(write_picture, picture=picture)
        return writers

    def sidecar(self, outputs: Outputs, files: Sequence[str] = ()) -> dict[str, Any]:
        """The content of ``<name>.json``: provenance, what is expected of each class, how the files were written."""
        spread, limits = None, None
        if self.error_map is not None:
            low, high = outputs.range or self.range()
            scored = self.error_map if self.roi is None else self.error_map[self.roi]
            spread = {"min": float(scored.min()), "max": float(scored.max())}
            limits = {"min": low, "max": high}
        return plain(
            {
                "schema": 1,
                "name": self.name,
                **self.provenance,
                "range": spread,
                "overlay_range": limits,
                "class_quality": {
                    "measure": self.measure,
                    "mean": self.mean_quality,
                    "classes": self.quality,
                    "shares": self.shares,
                }
                if self.class_quality is not None
                else None,
                "output": outputs.describe(),
                "classes": list(self.classes),
                "files": list(files),
                "fingerprint": outputs.fingerprint(self.provenance),
            }
        )

    def _map(self) -> FloatArray:
        if self.error_map is None:
            raise CompatibilityError(f"{self.name} has no error map: {self.score_name} judges classes, not pixels")
        return self.error_map

    def _segments(self) -> UInt8Array:
        return blend(grey(self.image), colour_classes(self.segmentation, self.palette), 0.5)
