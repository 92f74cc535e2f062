"""Reading anybody's anomaly maps back: npy, SMIYC hdf5, tiff and 16-bit png, checked before they are believed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from anomseg.errors import FrameError
from anomseg.inference.colour import FloatArray
from anomseg.inference.writers import SMIYC_DATASET
from anomseg.segmenters.base import Size

MAX_PIXELS = 1 << 28  # 16384 x 16384; a map of that size is 1 GB as float32
_UINT16_MAX = 65535.0


def read_map(path: str | Path, size: Size | None = None) -> FloatArray:
    """Read one anomaly map.

    ``.npy`` of any real type; ``.hdf5`` / ``.h5`` with the dataset ``value``; ``.tif`` / ``.tiff`` of floats or
    16-bit integers; ``.png`` of 16 bits. 16-bit integers become [0, 1] by division by 65535; nothing else is scaled.

    Args:
        path: The file.
        size: ``(H, W)`` that the map must have.

    Returns:
        ``(H, W)`` float32, finite.

    Raises:
        FrameError: The file is missing, unreadable, too large, of the wrong size, or holds NaN or infinity.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise FrameError(f"{file}: unknown type of anomaly map; known: {', '.join(sorted(_READERS))}")
    if not file.is_file():
        raise FrameError(f"{file} does not exist")
    try:
        values = reader(file)
    except FrameError:
        raise
    except Exception as error:  # the decoders raise many kinds on damaged files
        raise FrameError(f"{file} cannot be read as an anomaly map: {' '.join(str(error).split())}") from error
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
        values = values.reshape([extent for axis, extent in enumerate(values.shape) if axis == 1 or extent != 1][:2])
    if values.ndim != 2:
        raise FrameError(f"{file} has shape {values.shape}; an anomaly map is (height, width)")
    if size is not None and values.shape != tuple(size):
        raise FrameError(
            f"{file} is {values.shape[1]}x{values.shape[0]} pixels, its image {size[1]}x{size[0]}; "
            "write maps at the image's own size"
        )
    with np.errstate(over="ignore"):
        scores = values.astype(np.float32)
    broken = int(scores.size - np.isfinite(scores).sum())
    if broken:
        raise FrameError(f"{file} holds {broken} NaN or infinite scores of {scores.size}; write finite scores")
    return scores


def _check_extent(path: Path, shape: tuple[int, ...]) -> None:
    pixels = int(np.prod([int(extent) for extent in shape], dtype=object)) if shape else 0
    if pixels > MAX_PIXELS or pixels == 0:
        raise FrameError(f"{path} claims shape {shape}; maps have 1 to {MAX_PIXELS} pixels")


def _check_real(path: Path, dtype: np.dtype) -> None:
    if dtype.kind not in "fiub":
        raise FrameError(f"{path} holds values of type {dtype}; an anomaly map holds real numbers")


def _read_npy(path: Path) -> NDArray:
    # Mapping the file reads no more than its header, so size and type are checked before any memory is taken.
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(values, np.ndarray):
        values.close()
        raise FrameError(f"{path} is an archive of arrays; write one array with numpy.save")
    _check_extent(path, values.shape)
    _check_real(path, values.dtype)
    return np.array(values)


def _read_hdf5(path: Path) -> NDArray:
    import h5py  # noqa: PLC0415 - only needed for this format

    with h5py.File(path, "r") as file:
        # Links and external storage could point at any file of this machine.
        if not isinstance(file.get(SMIYC_DATASET, getlink=True), h5py.HardLink):
            raise FrameError(f"{path} has no dataset {SMIYC_DATASET!r}; it holds: {', '.join(file) or 'nothing'}")
        dataset = file[SMIYC_DATASET]
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise FrameError(f"{path}: {SMIYC_DATASET!r} is not a plain dataset")
        _check_extent(path, dataset.shape)
        _check_real(path, dataset.dtype)
        return dataset[()]


def _read_image(path: Path) -> NDArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of a damaged file is said in the error
        try:
            with Image.open(path, formats=("PNG", "TIFF")) as image:
                _check_extent(path, (image.height, image.width))
                mode, values = image.mode, np.asarray(image)
        except Image.DecompressionBombError as error:
            raise FrameError(f"{path} is too large an image to be an anomaly map") from error
    if mode == "F":
        return values
    # Pillow opens 16-bit PNG as "I;16", older versions as "I".
    if mode.startswith("I;16") or (mode == "I" and values.min() >= 0 and values.max() <= _UINT16_MAX):
        return values.astype(np.float64) / _UINT16_MAX
    raise FrameError(f"{path} has 8 bits a pixel (mode {mode}); write 16-bit png, or npy, for anomaly maps")


def _read_tiff(path: Path) -> NDArray:
    try:
        return _read_image(path)
    except UnidentifiedImageError:
        # Pillow knows float32 only; half and double precision and some compressions need tifffile.
        return _read_with_tifffile(path)


def _read_with_tifffile(path: Path) -> NDArray:
    try:
        import tifffile  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise FrameError(f"{path}: this kind of tiff needs tifffile; pip install tifffile, or write float32") from error
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        _check_extent(path, page.shape)
        values = page.asarray()
        _check_real(path, values.dtype)
    return values / _UINT16_MAX if values.dtype == np.uint16 else values


_READERS: dict[str, Callable[[Path], NDArray]] = {
    ".npy": _read_npy,
    ".hdf5": _read_hdf5,
    ".h5": _read_hdf5,
    ".tif": _read_tiff,
    ".tiff": _read_tiff,
    ".png": _read_image,
}
