"""Generator directories: ``generator.json`` (options, class names, how it was trained) and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from anomseg.detectors.part_files import PartFiles
from anomseg.errors import CompatibilityError

FILES = PartFiles("generator", "generator", "spade", "give a directory that 'anomseg train camvid-synthesis' wrote")
rebuild = FILES.rebuild


class Optioned(Protocol):
    """A network that knows the options it was built of."""

    options: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        """Its weights."""


def save_generator(generator: Optioned, folder: str | Path, meta: Mapping[str, Any] | None = None) -> None:
    """Write a generator so that `load_generator` gives it back bit for bit.

    Args:
        generator: A `SPADEGenerator`.
        folder: Made if missing; an earlier generator in it is replaced.
        meta: JSON-ready record: ``classes``, the names in the order of the layout; ``fitted_on``, what it was trained
            on; whatever else belongs to it.

    Raises:
        CompatibilityError: As many classes are named as it does not have.
    """
    names = (meta or {}).get("classes")
    if names is not None and len(names) != generator.options["classes"]:
        raise CompatibilityError(
            f"{len(names)} classes are named for a generator that renders {generator.options['classes']}; name each of "
            "them"
        )
    FILES.save(folder, generator.options, generator.state_dict(), meta)


def is_generator_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_generator`."""
    return FILES.is_directory(path)


def generator_meta(folder: str | Path) -> dict[str, Any]:
    """What `save_generator` was told of the generator.

    Raises:
        DataError: The directory holds none.
    """
    return FILES.meta(folder)


def read_generator(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Options, weights and record of a directory that `save_generator` wrote.

    Raises:
        DataError: It holds no generator, or a file is missing or damaged.
    """
    return (*FILES.read(folder), FILES.meta(folder))
