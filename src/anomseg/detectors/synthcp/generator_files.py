"""Generator directories: ``generator.json`` (options, class names, how it was trained) and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from anomseg._version import __version__
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import atomic_write, read_json, sha256_of_file, write_json
from anomseg.registry import convert_options, option_names
from anomseg.segmenters.checkpoint import load_checkpoint

CONFIG, WEIGHTS = "generator.json", "model.safetensors"
KIND, SCHEMA = "spade", 1
_AGAIN = "train the generator again"
Network = TypeVar("Network", bound=nn.Module)


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
    from safetensors.torch import save  # noqa: PLC0415 - kept out of start-up

    options, record = generator.options, dict(meta or {})
    names = record.get("classes")
    if names is not None and len(names) != options["classes"]:
        raise CompatibilityError(
            f"{len(names)} classes are named for a generator that renders {options['classes']}; name each of them"
        )
    target = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    with atomic_write(target / WEIGHTS) as stream:
        stream.write(save(state, metadata={"format": "pt"}))
    write_json(
        target / CONFIG,
        {
            "schema": SCHEMA,
            "generator": KIND,
            "options": options,
            "sha256": sha256_of_file(target / WEIGHTS),
            "library_version": __version__,
            "meta": record,
        },
    )


def is_generator_directory(path: str | Path) -> bool:
    """Whether ``path`` is a directory written by `save_generator`."""
    return (Path(path) / CONFIG).is_file()


def generator_meta(folder: str | Path) -> dict[str, Any]:
    """What `save_generator` was told of the generator.

    Raises:
        DataError: The directory holds none.
    """
    meta = _read_config(Path(folder)).get("meta")
    return meta if isinstance(meta, dict) else {}


def read_generator(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Options, weights and record of a directory that `save_generator` wrote.

    Raises:
        DataError: It holds no generator, or a file is missing or damaged.
    """
    place = Path(folder)
    config = _read_config(place)
    if not (place / WEIGHTS).is_file():
        raise DataError(f"{place / WEIGHTS} is missing; copy the whole directory, or {_AGAIN}")
    if sha256_of_file(place / WEIGHTS) != config.get("sha256"):
        raise DataError(f"{place / WEIGHTS} is damaged: its sha256 is not the one in {CONFIG}; {_AGAIN}")
    return config["options"], load_checkpoint(place / WEIGHTS), generator_meta(place)


def rebuild(
    build: Callable[..., Network], options: Mapping[str, Any], weights: Mapping[str, Tensor], where: str
) -> Network:
    """A network of its options and weights, in evaluation mode.

    Raises:
        DataError: An unknown option or one of another type, or weights that are not finite.
        CompatibilityError: The weights do not fit the options.
    """
    try:
        unknown = sorted({*options} - {*(option_names(build) or ())})
        if unknown:
            raise ConfigError(f"unknown option {unknown[0]}")
        network = build(**convert_options(build, options, where))
    except (ConfigError, TypeError) as error:
        raise DataError(f"{where}: the generator's options are damaged ({error}); {_AGAIN}") from error
    own = network.state_dict()
    wrong = sorted(name for name in own.keys() | weights.keys() if _shape(own, name) != _shape(weights, name))
    if wrong:
        raise CompatibilityError(f"{where}: the weights do not fit the generator's options (first: {wrong[0]})")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise DataError(f"{where}: the generator's weights are not finite; {_AGAIN}")
    network.load_state_dict(dict(weights))
    return network.eval()


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise DataError(f"{folder} holds no {CONFIG}; give a directory that 'anomseg train camvid-synthesis' wrote")
    config = read_json(path)
    if not isinstance(config, dict) or config.get("generator") != KIND:
        raise DataError(f"{path} names no generator of this kind; was it written by anomseg?")
    if config.get("schema") != SCHEMA:
        raise DataError(f"{path} has schema {config.get('schema')!r}, this version reads {SCHEMA}; update anomseg")
    if not isinstance(config.get("options"), dict):
        raise DataError(f"{path} is damaged: its options are no JSON object; {_AGAIN}")
    return config
