"""Directories of networks that are no segmenters, such as a flow: a JSON file of options, and ``model.safetensors``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anomseg._version import __version__
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import atomic_write, read_json, sha256_of_file, write_json
from anomseg.registry import convert_options, option_names
from anomseg.segmenters.checkpoint import load_checkpoint

WEIGHTS = "model.safetensors"
SCHEMA = 1
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class PartFiles:
    """How one sort of network is written and read.

    Attributes:
        noun: What it is called in messages.
        key: Key of the JSON file under which its kind stands.
        kind: Its kind; files of another are refused.
        given: What to give where a folder holds none, for messages.
    """

    noun: str
    key: str
    kind: str
    given: str

    @property
    def config(self) -> str:
        """Name of the JSON file."""
        return f"{self.noun}.json"

    @property
    def again(self) -> str:
        """How a damaged directory is mended."""
        return f"train the {self.noun} again"

    def save(
        self,
        folder: str | Path,
        options: Mapping[str, Any],
        state: Mapping[str, Tensor],
        meta: Mapping[str, Any] | None,
    ) -> None:
        """Write a network so that `read` and `rebuild` give it back bit for bit.

        Args:
            folder: Made if missing; an earlier network in it is replaced.
            options: What it is built of, JSON-ready.
            state: Its weights.
            meta: JSON-ready record that goes with it.
        """
        from safetensors.torch import save  # noqa: PLC0415 - kept out of start-up

        target = Path(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        with atomic_write(target / WEIGHTS) as stream:
            stream.write(save(tensors, metadata={"format": "pt"}))
        write_json(
            target / self.config,
            {
                "schema": SCHEMA,
                self.key: self.kind,
                "options": dict(options),
                "sha256": sha256_of_file(target / WEIGHTS),
                "library_version": __version__,
                "meta": dict(meta or {}),
            },
        )

    def is_directory(self, path: str | Path) -> bool:
        """Whether ``path`` is a directory that `save` wrote."""
        return (Path(path) / self.config).is_file()

    def meta(self, folder: str | Path) -> dict[str, Any]:
        """The record that `save` was given.

        Raises:
            DataError: The directory holds none.
        """
        meta = self._read_config(Path(folder)).get("meta")
        return meta if isinstance(meta, dict) else {}

    def read(self, folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Options and weights of a directory that `save` wrote.

        Raises:
            DataError: A file is missing or damaged.
        """
        place = Path(folder)
        config = self._read_config(place)
        if not (place / WEIGHTS).is_file():
            raise DataError(f"{place / WEIGHTS} is missing; copy the whole directory, or {self.again}")
        if sha256_of_file(place / WEIGHTS) != config.get("sha256"):
            raise DataError(f"{place / WEIGHTS} is damaged: its sha256 is not the one in {self.config}; {self.again}")
        return config["options"], load_checkpoint(place / WEIGHTS)

    def rebuild(
        self, build: Callable[..., Network], options: Mapping[str, Any], weights: Mapping[str, Tensor], where: str
    ) -> Network:
        """A network of its options and weights, in evaluation mode.

        Args:
            build: Its class.
            options: Of that class.
            weights: Its weights.
            where: Where they come from, for messages.

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
            raise DataError(f"{where}: the {self.noun}'s options are damaged ({error}); {self.again}") from error
        own = network.state_dict()
        wrong = sorted(name for name in own.keys() | weights.keys() if _shape(own, name) != _shape(weights, name))
        if wrong:
            raise CompatibilityError(f"{where}: the weights do not fit the {self.noun}'s options (first: {wrong[0]})")
        if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
            raise DataError(f"{where}: the {self.noun}'s weights are not finite, it has diverged; train it again")
        network.load_state_dict(dict(weights))
        return network.eval()

    def _read_config(self, folder: Path) -> dict[str, Any]:
        path = folder / self.config
        if not path.is_file():
            raise DataError(f"{folder} holds no {self.config}; {self.given}")
        config = read_json(path)
        if not isinstance(config, dict) or config.get(self.key) != self.kind:
            raise DataError(f"{path} names no {self.noun} of this kind; was it written by anomseg?")
        if config.get("schema") != SCHEMA:
            raise DataError(f"{path} has schema {config.get('schema')!r}, this version reads {SCHEMA}; update anomseg")
        if not isinstance(config.get("options"), dict):
            raise DataError(f"{path} is damaged: its options are no JSON object; {self.again}")
        return config


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
