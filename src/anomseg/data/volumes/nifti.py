"""Reading NIfTI volumes with whatever can be wrong about them, and writing maps in the same place."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.data.volumes.case import Mask, Volume
from anomseg.errors import ConfigError, FrameError
from anomseg.files import write_bytes

SUFFIXES = (".nii.gz", ".nii")
TOLERANCE = 0.1
"""Voxels by which the corners of two volumes that belong together may lie apart; headers round."""


@dataclass(frozen=True)
class NiftiGeometry:
    """Where a volume lies: its shape and the affine of its axes, nearest to right, anterior, superior.

    Attributes:
        shape: ``(D, H, W)``: superior, anterior, right.
        affine: ``(4, 4)`` from ``(x, y, z)`` indices to millimetres.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from voxel to voxel, ``(z, y, x)``."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return z, y, x


def is_nifti(path: str | Path) -> bool:
    """Whether a file is named as NIfTI files are; what macOS leaves beside them (``._*``) is not one.

    Example:
        >>> is_nifti("a/case.nii.gz"), is_nifti("a/._case.nii.gz"), is_nifti("a/case.png")
        (True, False, False)
    """
    name = Path(path).name
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def stem(path: str | Path) -> str:
    """A file's name without the suffix of NIfTI files.

    Example:
        >>> stem("images/pancreas_001.nii.gz")
        'pancreas_001'
    """
    name = Path(path).name
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), name)


def read_geometry(path: str | Path) -> NiftiGeometry:
    """Shape and place of a volume, from its header alone.

    Raises:
        FrameError: It cannot be read, is no single volume of numbers, or its axes have no length.
    """
    return _open(path)[1]


def read_volume(path: str | Path) -> Volume:
    """A volume's values, float32 ``(D, H, W)``; slope and intercept of the header are applied.

    Raises:
        FrameError: It cannot be read, see `read_geometry`, or voxels are NaN or infinite.
    """
    values = _values(path)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise FrameError(f"{path}: {bad} voxels are NaN or infinite; write them as air (-1024)")
    return values


def read_mask(path: str | Path, labels: Mapping[int, int]) -> Mask:
    """A mask as class indices, uint8 ``(D, H, W)``.

    Args:
        path: The file.
        labels: Class index of each value that may occur.

    Raises:
        FrameError: It cannot be read, see `read_geometry`, or holds other values.
    """
    values = _values(path)
    found = np.unique(values)
    unknown = [f"{value:g}" for value in found if not np.isfinite(value) or float(value) not in labels]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise FrameError(
            f"{path}: the mask holds {', '.join(unknown[:5])}{more}, and known label values are "
            f"{', '.join(str(value) for value in sorted(labels))}; name them all with labels="
        )
    mask = np.zeros(values.shape, np.uint8)
    for value, index in labels.items():
        mask[values == value] = index
    return mask


def check_aligned(image: NiftiGeometry, mask: NiftiGeometry, what: str) -> None:
    """Refuse a mask that does not lie on its image.

    Args:
        image: Geometry of the image.
        mask: Of the mask.
        what: What the mask is, for messages.

    Raises:
        FrameError: Shape, spacing or place differ; the message says by how much.
    """
    if mask.shape != image.shape:
        raise FrameError(f"{what} has shape {mask.shape} and its image {image.shape}; resample one to the other")
    if not np.allclose(mask.spacing, image.spacing, rtol=0.01):
        told = [" x ".join(f"{side:.3g}" for side in one.spacing) for one in (mask, image)]
        raise FrameError(f"{what} has voxels of {told[0]} mm and its image of {told[1]} mm; correct the header")
    x, y, z = (side - 1 for side in reversed(image.shape))
    corners = np.array([(*corner, 1) for corner in product((0, x), (0, y), (0, z))], np.float64)
    apart = float(np.linalg.norm(corners @ (mask.affine - image.affine).T, axis=1).max())
    if apart > TOLERANCE * min(image.spacing):
        raise FrameError(
            f"{what} lies up to {apart:.3g} mm from its image, as their affines differ; save it with the image's affine"
        )


def write_volume(path: str | Path, values: NDArray[Any], geometry: NiftiGeometry) -> None:
    """Write a map in the place of a volume, ``(D, H, W)``; axes go to right, anterior, superior.

    Args:
        path: Ends in ``.nii.gz``.
        values: float32 or uint8.
        geometry: Of the volume that the map belongs to.
    """
    nibabel = _nibabel()
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), geometry.affine)
    image.header.set_xyzt_units("mm")
    stream = io.BytesIO()
    holder = nibabel.FileHolder(fileobj=stream)
    image.to_file_map({"image": holder, "header": holder})
    content = stream.getvalue()
    if str(path).endswith(".gz"):
        content = gzip.compress(content, 6, mtime=0)
    write_bytes(path, content)


def _values(path: str | Path) -> Volume:
    image, geometry = _open(path)
    orientations = _nibabel().orientations
    try:
        values = np.asarray(image.dataobj, np.float32).reshape(_spatial(image.shape))
    except Exception as error:  # a file cut short raises several kinds
        raise FrameError(f"{path} is damaged: {' '.join(str(error).split())[:160]}") from error
    values = orientations.apply_orientation(values, orientations.io_orientation(image.affine))
    assert values.shape == geometry.shape[::-1]  # noqa: S101 - both follow the same orientation
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def _open(path: str | Path) -> tuple[Any, NiftiGeometry]:
    """An image that is not read yet, and where it lies once its axes are nearest to right, anterior, superior."""
    nibabel = _nibabel()
    if not Path(path).is_file():
        raise FrameError(f"{path} does not exist")
    try:
        image = nibabel.load(path)
        shape, kind, affine = tuple(image.shape), image.get_data_dtype(), np.asarray(image.affine, np.float64)
    except Exception as error:
        raise FrameError(f"{path} is no NIfTI volume: {' '.join(str(error).split())[:160]}") from error
    if kind.names is not None or kind.kind not in "iuf":
        raise FrameError(f"{path} holds colours or complex numbers ({kind}); a CT volume has one number a voxel")
    spatial = _spatial(shape)
    if len(spatial) > 3:
        raise FrameError(f"{path} has {len(shape)} axes {shape}; a case is one volume, so write one file each")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if 0 in spatial or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        told = " x ".join(f"{length:.3g}" for length in lengths)
        raise FrameError(f"{path}: shape {shape} with voxels of {told} mm is no volume; correct the header")
    orientation = nibabel.orientations.io_orientation(affine)
    x, y, z = (spatial[int(np.flatnonzero(orientation[:, 0] == axis)[0])] for axis in range(3))
    return image, NiftiGeometry((z, y, x), affine @ nibabel.orientations.inv_ornt_aff(orientation, spatial))


def _spatial(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with three axes where it has fewer, and without further axes of one step."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return (*shape, 1, 1)[:3] if len(shape) < 3 else shape


def _nibabel() -> Any:
    try:
        import nibabel  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("NIfTI files need nibabel; pip install 'anomseg[medical]'") from error
    return nibabel
