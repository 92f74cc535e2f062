"""Anybody's images, with masks or without."""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.labels import BINARY_VOID, parse_value_table
from anomseg.data.layout import Layout


def folder(images: str | None = None, masks: str | None = None, values: str | None = None) -> DatasetSpec:
    """A folder of images and one of masks, paired by file name without the last suffix.

    Args:
        images: The folder of images below the root; ``images``, or the root itself, when None.
        masks: The folder of masks below the root; ``labels_masks``, ``masks`` or ``labels`` when None, and then
            masks may be absent: frames without one have no ground truth.
        values: What mask values mean, ``"0:0,255:1"``; 0 inlier, 1 anomaly, 255 void when None.

    Raises:
        ConfigError: The values cannot be read.
    """
    image_folders = (images,) if images is not None else ("images", "")
    mask_folders = (masks,) if masks is not None else ("labels_masks", "masks", "labels")
    table = parse_value_table(values) if values is not None else BINARY_VOID
    layout = Layout(
        "folder",
        FileRule(
            _literal(image_folders),
            IMAGE_NAME,
            " or ".join(f"{name or '.'}/*" for name in image_folders),
            images_only=True,
        ),
        FileRule(
            _literal(mask_folders), IMAGE_NAME, " or ".join(f"{name}/*" for name in mask_folders), images_only=True
        ),
        optional_labels=masks is None,
    )
    return DatasetSpec(
        name="folder",
        title="images and masks of one's own",
        splits=(Split("all"),),
        default_split="all",
        layouts=(layout,),
        table=table,
    )


def _literal(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folder names in which braces mean themselves."""
    return tuple(name.replace("{", "{{").replace("}", "}}") for name in folders)
