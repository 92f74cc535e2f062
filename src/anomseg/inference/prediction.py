"""One image and what was found in it: the anomaly map, the segmentation, pictures and files of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.inference.coco import SUFFIX as COCO_SUFFIX
from anomseg.inference.coco import write_coco
from anomseg.inference.colour import (
    BoolArray,
    FloatArray,
    Range,
    blend,
    colour_classes,
    draw_outline,
    grey,
    heat_overlay,
    score_range,
)
from anomseg.inference.inputs import safe_name
from anomseg.inference.legend import add_colour_bar, add_legend
from anomseg.inference.open_set import (
    ANOMALY_NAME,
    MOST_CLASSES,
    anomaly_colour,
    anomaly_index,
    draw_open_set,
    open_set_map,
)
from anomseg.inference.outputs import Outputs, check_range
from anomseg.inference.provenance import SIGN, plain
from anomseg.inference.result_files import picture_suffix, write_files
from anomseg.inference.writers import (
    MapDtype,
    as_dtype,
    write_hdf5,
    write_mask,
    write_npy,
    write_picture,
    write_segmentation,
)
from anomseg.types import UInt8Array


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one image, all at the image's own size.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        anomaly_map: ``(H, W)`` float32, finite, higher = more anomalous. Outside the region of interest it holds
            the lowest score inside.
        segmentation: ``(H, W)`` uint8 class indices; None without a network or with more than 256 classes.
        classes: Class names of the segmentation.
        palette: One RGB triple a class.
        provenance: What made it, JSON-ready; see the sidecar that `save` writes.
        bounded: The score lies in [0, 1] by construction.
        name: Names its files; unique in a run.
        roi: ``(H, W)`` bool, True inside the region of interest; None where that is the whole image.
        threshold: Score from which a pixel is an anomaly, where the prediction was told one; `mask` and `open_set`
            take it unless they are given another.
        pictures: ``(H, W, 3)`` uint8 by name, what the detector shows besides, see `Detector.pictures`.
    """

    image: UInt8Array
    anomaly_map: FloatArray
    segmentation: UInt8Array | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, ...], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    bounded: bool = False
    name: str = "image"
    roi: BoolArray | None = None
    threshold: float | None = None
    pictures: Mapping[str, UInt8Array] = field(default_factory=dict)

    @property
    def score_name(self) -> str:
        """Name of the score, for labels."""
        return str(self.provenance.get("score", {}).get("name", "anomaly score"))

    def range(self) -> Range:
        """Scores at both ends of the overlay's colours: [0, 1] if bounded, else percentiles 1 and 99.5."""
        return score_range(self.anomaly_map, bounded=self.bounded, inside=self.roi)

    def mask(self, threshold: float | None = None) -> BoolArray:
        """Where the score is at least ``threshold``, inside the region of interest; ``(H, W)`` bool.

        Args:
            threshold: The prediction's own where not given.

        Raises:
            ConfigError: There is no threshold.
        """
        found = self.anomaly_map >= self._threshold(threshold)
        return found if self.roi is None else found & self.roi

    @property
    def anomaly_class(self) -> int:
        """The number of the anomaly in `open_set`: K, the first after the K known classes.

        Raises:
            CompatibilityError: There is no segmentation, or no number is left.
        """
        self._require_segmentation()
        return anomaly_index(len(self.classes))

    def open_set(self, threshold: float | None = None) -> UInt8Array:
        """Known classes and the anomaly in one map: the segmentation, with K where the score reaches a threshold.

        Both come of one call and one pass of the network. Outside the region of interest nothing is an anomaly.

        Args:
            threshold: Score from which a pixel is an anomaly; the prediction's own where not given.

        Returns:
            ``(H, W)`` uint8: 0 .. K - 1 known classes, K (`anomaly_class`) the anomaly.

        Raises:
            ConfigError: There is no threshold.
            CompatibilityError: There is no segmentation, or it has 255 classes or more.
        """
        return open_set_map(self._require_segmentation(), self.mask(threshold), len(self.classes))

    def coloured_open_set(self, threshold: float | None = None, *, legend: bool = True) -> UInt8Array:
        """`open_set` as a picture: classes in their colours over the image's brightness, the anomaly in one of its own.

        Args:
            threshold: Score from which a pixel is an anomaly; the prediction's own where not given.
            legend: Add a legend of what occurs to the right, which makes the picture wider than the image.

        Returns:
            ``(H, W', 3)`` uint8 RGB.

        Raises:
            ConfigError: There is no threshold.
            CompatibilityError: There is no segmentation, or it has 255 classes or more.
        """
        found = self.open_set(threshold)
        table = self.open_set_palette
        picture = draw_open_set(grey(self.image), found, table)
        present = [int(index) for index in np.unique(found)]
        return add_legend(picture, (*self.classes, ANOMALY_NAME), table, present) if legend else picture

    @property
    def open_set_palette(self) -> tuple[tuple[int, ...], ...]:
        """One RGB triple a class, then that of the anomaly, which is like none of theirs."""
        return (*self.palette, anomaly_colour(self.palette))

    def _threshold(self, threshold: float | None) -> float:
        found = self.threshold if threshold is None else threshold
        if found is None:
            raise ConfigError(f"{self.name} has no threshold; give the score from which a pixel is an anomaly")
        return found

    def _require_segmentation(self) -> UInt8Array:
        if self.segmentation is None:
            raise CompatibilityError(f"{self.name} has no segmentation; predict with a segmenter")
        return self.segmentation

    def overlay(self, range: Range | None = None, *, threshold: float | None = None, bar: bool = True) -> UInt8Array:
        """The heat map over the image, as a picture to look at.

        Args:
            range: Scores at both ends of the colours; `range()` when not given.
            threshold: Outline what is at least this odd, and mark it on the bar.
            bar: Add a colour bar to the right, which makes the picture wider than the image.

        Returns:
            ``(H, W', 3)`` uint8 RGB.

        Raises:
            ConfigError: The range is empty or not finite.
        """
        limits = self.range() if range is None else check_range(range)
        picture = heat_overlay(self.image, self.anomaly_map, limits, inside=self.roi)
        if threshold is not None:
            picture = draw_outline(picture, self.mask(threshold))
        label = f"{self.score_name}: {SIGN}"
        return add_colour_bar(picture, limits, label, mark=threshold) if bar else picture

    def coloured_segmentation(self, *, legend: bool = True) -> UInt8Array:
        """The predicted classes in their colours over the image's brightness, with a legend of those that occur.

        Args:
            legend: Add the legend to the right, which makes the picture wider than the image.

        Returns:
            ``(H, W', 3)`` uint8 RGB.

        Raises:
            CompatibilityError: There is no segmentation.
        """
        classes = self._require_segmentation()
        picture = blend(grey(self.image), colour_classes(classes, self.palette), 0.65)
        present = [int(index) for index in np.unique(classes)]
        return add_legend(picture, self.classes, self.palette, present) if legend else picture

    def save(
        self,
        directory: str | Path,
        formats: Sequence[str] = ("png", "npy"),
        dtype: MapDtype = "float32",
        threshold: float | None = None,
        *,
        range: Range | None = None,
    ) -> list[Path]:
        """Write the result as files named after the image, the sidecar last.

        ``npy`` and ``hdf5`` give the raw map; ``coco`` gives the components at the threshold as COCO annotations with
        run-length encoding and score (``<name>.coco.json``); ``png`` gives the overlay, the segmentation and, with a
        threshold, the mask, the open-set map as a picture with a legend (``<name>_open_set.png``) and as a palette
        image whose pixels are class numbers (``<name>_open_set_labels.png``), and what the detector shows besides
        (``<name>_<picture>.png``). The sidecar ``<name>.json`` says what made them.
        Files of an earlier, different run that would contradict it are removed; those that no sidecar of ours lists
        are let be.

        Args:
            directory: Made if missing.
            formats: Any of png, npy, hdf5, coco.
            dtype: Of the ``npy`` map; ``hdf5`` is float16, as its readers expect.
            threshold: Score from which a pixel counts as anomalous; the prediction's own where not given.
            range: Scores at both ends of the overlay's colours.

        Returns:
            The files written, sidecar last.

        Raises:
            ConfigError: A format is unknown, or needs a threshold.
            FrameError: float16 cannot hold the scores; nothing was touched.
            DataError: A file cannot be written, or ``<name>.json`` is somebody else's; nothing was touched.
        """
        return self.write(
            directory, Outputs(tuple(formats), dtype, self.threshold if threshold is None else threshold, range)
        )

    def write(self, directory: str | Path, outputs: Outputs) -> list[Path]:
        """As `save`, with the options in one object."""
        if outputs.half_precision:
            as_dtype(self.anomaly_map, "float16", safe_name(self.name))
        return write_files(
            Path(directory), safe_name(self.name), self._writers(outputs), partial(self.sidecar, outputs)
        )

    def _writers(self, outputs: Outputs) -> dict[str, Callable[[Path], None]]:
        writers: dict[str, Callable[[Path], None]] = {}
        if "npy" in outputs.formats:
            writers[".npy"] = lambda path: write_npy(path, self.anomaly_map, outputs.dtype)
        if "hdf5" in outputs.formats:
            writers[".hdf5"] = lambda path: write_hdf5(path, self.anomaly_map)
        threshold = outputs.threshold
        if "coco" in outputs.formats and threshold is not None:
            mask = self.mask(threshold)
            writers[COCO_SUFFIX] = lambda path: write_coco(path, self.name, self.anomaly_map, mask, threshold)
        if "png" in outputs.formats:
            writers |= self._pictures(outputs)
        return writers

    def _pictures(self, outputs: Outputs) -> dict[str, Callable[[Path], None]]:
        segmentation, threshold = self.segmentation, outputs.threshold
        writers: dict[str, Callable[[Path], None]] = {
            "_overlay.png": lambda path: write_picture(path, self.overlay(outputs.range, threshold=threshold))
        }
        if segmentation is not None:
            writers["_segmentation.png"] = lambda path: write_segmentation(path, segmentation, self.palette)
        if threshold is not None:
            writers["_mask.png"] = lambda path: write_mask(path, self.mask(threshold))
            if segmentation is not None and len(self.classes) < MOST_CLASSES:
                writers["_open_set.png"] = lambda path: write_picture(path, self.coloured_open_set(threshold))
                writers["_open_set_labels.png"] = lambda path: write_segmentation(
                    path, self.open_set(threshold), self.open_set_palette
                )
        for key, picture in self.pictures.items():
            writers[picture_suffix(key)] = partial(write_picture, picture=picture)
        return writers

    def sidecar(self, outputs: Outputs, files: Sequence[str] = ()) -> dict[str, Any]:
        """The content of ``<name>.json``: provenance, range of the scores and how the files were written."""
        low, high = outputs.range or self.range()
        scored = self.anomaly_map if self.roi is None else self.anomaly_map[self.roi]
        return plain(
            {
                "schema": 1,
                "name": self.name,
                **self.provenance,
                "range": {"min": float(scored.min()), "max": float(scored.max())},
                "overlay_range": {"min": low, "max": high},
                "output": outputs.describe(),
                "classes": list(self.classes),
                "anomaly_class": self._told_anomaly_class(outputs),
                "files": list(files),
                "fingerprint": outputs.fingerprint(self.provenance),
            }
        )

    def _told_anomaly_class(self, outputs: Outputs) -> int | None:
        joint = outputs.threshold is not None and self.segmentation is not None and len(self.classes) < MOST_CLASSES
        return self.anomaly_class if joint else None
