"""Files for the hidden test sets of Fishyscapes: written for a folder of images, read back and checked.

The benchmark runs a container that finds images as ``<id>_rgb.png`` in one folder and leaves ``<id>_anomaly.npy`` and
``<id>_segmentation.npy`` in another; this is what such a container calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anomseg.data import label_space
from anomseg.data.decoding import decode_image, image_size
from anomseg.detectors import Detector
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.evaluation.progress import Progress, silent
from anomseg.files import atomic_write, read_json, sha256_of_file, write_json
from anomseg.inference import Prediction, Predictor, write_npy
from anomseg.inference.predict import stream
from anomseg.inference.provenance import digest, plain
from anomseg.inference.sources import Source
from anomseg.segmenters import Segmenter
from anomseg.segmenters.base import Size

NAME = "fishyscapes"
IMAGE_END, ANOMALY_END, CLASSES_END = "_rgb.png", "_anomaly.npy", "_segmentation.npy"
RECORD = "submission.json"
MOST_CLASSES = 20


@dataclass(frozen=True)
class FishyscapesFiles:
    """What was written and found in order.

    Attributes:
        folder: Folder of the maps.
        frames: Images, each with a map of scores and one of classes.
        kept: Those that an earlier attempt had finished.
        notes: What the submitter should know.
    """

    folder: Path
    frames: int
    kept: int
    notes: Sequence[str] = ()


def submit_fishyscapes(
    images: str | Path,
    segmenter: Segmenter | None,
    detector: Detector,
    out: str | Path,
    *,
    size: Size | None = None,
    device: str | None = None,
    seed: int = 0,
    calibrated: bool = False,
    overwrite: bool = False,
    on_progress: Progress = silent,
) -> FishyscapesFiles:
    """Write the two maps of every image, and read all of them back.

    ``<id>_anomaly.npy`` is float32 ``(H, W)``, higher = more anomalous; ``<id>_segmentation.npy`` uint8 ``(H, W)``, the
    network's classes, which have to be those of Cityscapes in its order (a twentieth may be void). The same call on the
    same ``out`` continues an interrupted one.

    Args:
        images: Folder that holds ``<id>_rgb.png``.
        segmenter: The network; None for a detector that carries its own.
        detector: Ready to score.
        out: Folder of the maps; ``submission.json`` beside them says what made them.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: Where to run; None leaves the network where it is.
        seed: For detectors with random passes.
        calibrated: Write scores on the scale of the detector's calibration.
        overwrite: Replace maps of other settings or images.
        on_progress: Called after each image.

    Raises:
        DataError: There are no images, one cannot be scored, or a map that was read back is not what it should be.
        ConfigError: The folder holds maps of other settings or images.
        CompatibilityError: The network has no class map, or other classes than Cityscapes.
    """
    found = {path.name.removesuffix(IMAGE_END): path for path in sorted(Path(images).glob(f"*{IMAGE_END}"))}
    if not found:
        raise DataError(f"{images} holds no images (*{IMAGE_END}); give the folder that the benchmark mounts as /input")
    predictor = Predictor(
        segmenter, detector, size=size, device=device, seed=seed, pictures=False, calibrated=calibrated
    )
    notes = check_classes(predictor)
    folder = Path(out)
    identity = digest(
        {"made_by": predictor.provenance({}), "images": {name: sha256_of_file(path) for name, path in found.items()}}
    )
    _claim(folder, identity, overwrite=overwrite)
    pending = {name: path for name, path in found.items() if not all(path.is_file() for path in _paths(folder, name))}
    sources = [Source(name, partial(decode_image, path), path) for name, path in pending.items()]
    kept = len(found) - len(pending)
    with closing(stream(predictor, sources)) as results:
        for done, (source, result) in enumerate(results, 1):
            if isinstance(result, FrameError):
                raise DataError(f"{source.name}: {result}; a submission needs every image, so mend this and go on")
            _write(folder, source.name, result)
            on_progress(kept + done, len(found), f"score {source.name}")
    check_files(folder, found)
    write_json(folder / RECORD, plain({"identity": identity, "checked": True, "made_by": predictor.provenance({})}))
    return FishyscapesFiles(folder, len(found), kept, notes)


def check_classes(predictor: Predictor) -> list[str]:
    """Refuse a network whose classes the benchmark cannot read.

    Returns:
        Notes.

    Raises:
        CompatibilityError: There is no class map, or it is not one of Cityscapes' classes.
    """
    network = predictor.segmenter
    if network is None:
        raise CompatibilityError("Fishyscapes also takes a class map of every image; give --segmenter")
    names, known = tuple(network.classes), tuple(label_space("cityscapes").names)
    if names[: len(known)] == known and len(names) <= MOST_CLASSES:
        return []
    if len(names) > MOST_CLASSES:
        raise CompatibilityError(
            f"the network has {len(names)} classes, Fishyscapes takes those of Cityscapes; give a network taught them"
        )
    first = ", ".join(names[:3])
    return [f"the network's classes ({first} ...) are not those of Cityscapes, so the class maps mean something else"]


def check_files(folder: Path, images: dict[str, Path]) -> None:
    """Read every map back.

    Args:
        folder: The maps.
        images: The images by id.

    Raises:
        DataError: A map is missing or too many, damaged, of another type or size, or holds what it must not.
    """
    expected = {path.name for name in images for path in _paths(folder, name)}
    strangers = sorted(path.name for path in folder.glob("*.npy") if path.name not in expected)
    if strangers:
        raise DataError(f"{folder / strangers[0]} is of no image of this submission; remove it")
    for name, image in images.items():
        size = tuple(image_size(image))
        scores, classes = (_read(path) for path in _paths(folder, name))
        again = "delete it and run the same command again"
        for path, array in zip(_paths(folder, name), (scores, classes), strict=True):
            if array.shape != size:
                raise DataError(f"{path} is of shape {array.shape}, its image {size} (height, width); {again}")
        if scores.dtype != np.float32 or not np.isfinite(scores).all():
            raise DataError(f"{_paths(folder, name)[0]} holds no finite float32 scores; {again}")
        if classes.dtype != np.uint8 or classes.max(initial=0) >= MOST_CLASSES:
            raise DataError(f"{_paths(folder, name)[1]} holds no class numbers below {MOST_CLASSES}; {again}")


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}{ANOMALY_END}", folder / f"{name}{CLASSES_END}"


def _write(folder: Path, name: str, found: Prediction) -> None:
    scores, classes = _paths(folder, name)
    if found.segmentation is None:
        raise CompatibilityError("the network gives no class map, which Fishyscapes takes with every image")
    with atomic_write(classes) as stream_:
        np.save(stream_, found.segmentation, allow_pickle=False)
    write_npy(scores, found.anomaly_map)


def _read(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing, and a submission needs every image; run the same command again") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and run the same command again") from error


def _claim(folder: Path, identity: str, *, overwrite: bool) -> None:
    record = folder / RECORD
    earlier = read_json(record) if record.is_file() else None
    same = isinstance(earlier, dict) and earlier.get("identity") == identity
    ours = [path for end in (ANOMALY_END, CLASSES_END) for path in folder.glob(f"*{end}")]
    if ours and not same and not overwrite:
        raise ConfigError(f"{folder} holds maps of other settings or images; give --overwrite or another --out")
    if overwrite or not same:
        for path in ours:
            path.unlink()
    write_json(record, {"identity": identity, "checked": False})
