"""One image and what was found in it: the anomaly map, the segmentation, pictures and files of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import cannot_write, write_json
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

_SUFFIXES = (
    ".npy", ".hdf5", "_overlay.png", "_mask.png", "_segmentation.png", "_open_set.png", "_open_set_labels.png"
)  # fmt: skip
_PICTURE = re.compile(r"_[a-z0-9_]{1,40}\.png")


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

        ``npy`` and ``hdf5`` give the raw map; ``png`` gives the overlay, the segmentation and, with a threshold,
        the mask, the open-set map as a picture with a legend (``<name>_open_set.png``) and as a palette image whose
        pixels are class numbers (``<name>_open_set_labels.png``), and what the detector shows besides
        (``<name>_<picture>.png``). The sidecar ``<name>.json`` says what made them.
        Files of an earlier, different run that would contradict it are removed; those that no sidecar of ours lists
        are let be.

        Args:
            directory: Made if missing.
            formats: Any of png, npy, hdf5.
            dtype: Of the ``npy`` map; ``hdf5`` is float16, as its readers expect.
            threshold: Score from which a pixel counts as anomalous; the prediction's own where not given.
            range: Scores at both ends of the overlay's colours.

        Returns:
            The files written, sidecar last.

        Raises:
            ConfigError: A format is unknown.
            FrameError: float16 cannot hold the scores; nothing was touched.
            DataError: A file cannot be written, or ``<name>.json`` is somebody else's; nothing was touched.
        """
        return self.write(
            directory, Outputs(tuple(formats), dtype, self.threshold if threshold is None else threshold, range)
        )

    def write(self, directory: str | Path, outputs: Outputs) -> list[Path]:
        """As `save`, with the options in one object."""
        folder, name = Path(directory), safe_name(self.name)
        if outputs.half_precision:
            as_dtype(self.anomaly_map, "float16", name)
        # A sidecar stands for a finished set of files, so it goes before they change and comes back last.
        sidecar = folder / f"{name}.json"
        earlier = _listed_files(sidecar)
        try:
            sidecar.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(sidecar, error) from error
        written: list[Path] = []

        def target(suffix: str) -> Path:
            written.append(folder / f"{name}{suffix}")
            return written[-1]

        if "npy" in outputs.formats:
            write_npy(target(".npy"), self.anomaly_map, outputs.dtype)
        if "hdf5" in outputs.formats:
            write_hdf5(target(".hdf5"), self.anomaly_map)
        if "png" in outputs.formats:
            write_picture(target("_overlay.png"), self.overlay(outputs.range, threshold=outputs.threshold))
            if self.segmentation is not None:
                write_segmentation(target("_segmentation.png"), self.segmentation, self.palette)
            if outputs.threshold is not None:
                write_mask(target("_mask.png"), self.mask(outputs.threshold))
                if self.segmentation is not None and len(self.classes) < MOST_CLASSES:
                    write_picture(target("_open_set.png"), self.coloured_open_set(outputs.threshold))
                    labels = self.open_set(outputs.threshold)
                    write_segmentation(target("_open_set_labels.png"), labels, self.open_set_palette)
            for key, picture in self.pictures.items():
                write_picture(target(_picture_suffix(key)), picture)
        for file in earlier:
            ours = file.startswith(name) and (file[len(name) :] in _SUFFIXES or _PICTURE.fullmatch(file[len(name) :]))
            if ours and folder / file not in written:
                (folder / file).unlink(missing_ok=True)
        write_json(sidecar, self.sidecar(outputs, [path.name for path in written]))
        return [*written, sidecar]

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


def _picture_suffix(name: str) -> str:
    """The end of the file of a detector's picture; no file of ours has it otherwise.

    Raises:
        CompatibilityError: The name is none for a file, or taken.
    """
    suffix = f"_{name}.png"
    if not _PICTURE.fullmatch(suffix) or suffix in _SUFFIXES:
        raise CompatibilityError(f"a detector's picture cannot be called {name!r}; use other letters of a-z, 0-9 and _")
    return suffix


def _listed_files(sidecar: Path) -> set[str]:
    """Names of the files that an earlier sidecar of ours lists; none where there is no sidecar or it is damaged.

    Raises:
        DataError: The file is sound but no sidecar of ours, such as an annotation beside its image.
    """
    try:
        written = json.loads(sidecar.read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    if not isinstance(written, dict) or not {"fingerprint", "overlay_range", "files"} <= written.keys():
        raise DataError(f"{sidecar} is no result of anomseg and is not replaced; choose another --out")
    return {str(name) for name in written["files"]}
