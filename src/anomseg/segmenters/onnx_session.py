"""Opening ONNX files under ONNX Runtime, and reading what goes in and out of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anomseg.errors import ConfigError, DataError
from anomseg.segmenters.guarded import import_extra

FLOATS: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@dataclass(frozen=True)
class Port:
    """One input or output of a graph.

    Attributes:
        name: Its name in the graph.
        kind: ONNX Runtime's name of its type, such as ``"tensor(float)"``.
        shape: Its sides, None where a side is dynamic; empty where the rank is unknown (or a scalar).
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.kind.removeprefix('tensor(').removesuffix(')')} ({sides})"


def import_runtime() -> tuple[Any, Any]:
    """The modules ``onnx`` and ``onnxruntime``.

    Raises:
        ConfigError: They are not installed; the message says how to install them.
    """
    return import_extra("onnx", "onnx", "export"), import_extra("onnxruntime", "onnxruntime", "export")


def open_session(model: str | Path | bytes, threads: int | None = None, provider: str = "cpu") -> Any:
    """Open a graph for running.

    Args:
        model: An ``.onnx`` file, or its bytes.
        threads: Threads of one operation; as many as PyTorch uses when not given.
        provider: ``"cpu"`` or ``"cuda"``, or ONNX Runtime's own name of an execution provider.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ConfigError: The provider is not there, or ONNX Runtime is not installed.
        DataError: The file is missing or damaged, or ONNX Runtime cannot run the graph.
    """
    _, runtime = import_runtime()
    name = PROVIDERS.get(provider, provider)
    available = runtime.get_available_providers()
    if name not in available:
        hint = "install onnxruntime-gpu in place of onnxruntime, or " if name == PROVIDERS["cuda"] else ""
        raise ConfigError(
            f"this ONNX Runtime has no provider {provider!r}: {hint}use one of {', '.join(['cpu', *available])}"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised; warnings about optimisations help nobody here
    what = "the graph" if isinstance(model, bytes) else str(model)
    # What a provider cannot run falls to the processor.
    providers = list(dict.fromkeys((name, PROVIDERS["cpu"])))
    try:
        session = runtime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=providers
        )
    except Exception as error:  # each of ONNX Runtime's errors is a class of its own
        raise DataError(f"ONNX Runtime cannot open {what}: {reason_of(error)}") from error
    if name not in session.get_providers():
        raise ConfigError(
            f"ONNX Runtime could not start the provider {provider!r} here (is its driver there?); use cpu"
        )
    return session


def ports(arguments: Sequence[Any]) -> list[Port]:
    """Inputs or outputs of a session as plain values."""
    return [
        Port(item.name, item.type, tuple(side if isinstance(side, int) else None for side in item.shape or ()))
        for item in arguments
    ]


def run_session(session: Any, names: Sequence[str], feed: Mapping[str, NDArray[Any]], what: str) -> list[NDArray[Any]]:
    """Run a graph once.

    Raises:
        DataError: ONNX Runtime stopped; the message gives its reason.
    """
    try:
        return session.run(list(names), dict(feed))
    except Exception as error:  # as above
        raise DataError(f"{what} stopped: {reason_of(error)}") from error


def digest_of_model(path: str | Path) -> str:
    """SHA-256 over an ``.onnx`` file and the data files it names, as 64 hexadecimal digits.

    Raises:
        DataError: It is missing or no ONNX file, or names data that is missing or lies outside its folder.
        ConfigError: ``onnx`` is not installed.
    """
    file = Path(path)
    digest = hashlib.sha256()
    for part in (file, *_external_files(file)):
        with part.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest() if part is not file else stream.read())
    return digest.hexdigest()


def _external_files(file: Path) -> list[Path]:
    onnx, _ = import_runtime()
    if not file.is_file():
        raise DataError(f"no ONNX file at {file}; give the path of an .onnx file")
    try:
        model = onnx.load(str(file), format="protobuf", load_external_data=False)
    except Exception as error:  # protobuf raises many kinds for damaged files
        raise DataError(f"{file} is no ONNX file, or a damaged one: {reason_of(error)}") from error
    if not model.graph.output:
        raise DataError(f"{file} is no ONNX file: it holds no graph with outputs")
    found = []
    for name in sorted({entry.value for entry in _external_data(model.graph) if entry.key == "location"}):
        # ONNX Runtime looks beside the file; a name that leads elsewhere has no business in a network.
        data = file.parent / name
        if Path(name).is_absolute() or not data.resolve().is_relative_to(file.parent.resolve()):
            raise DataError(f"{file} names the data file {name}, which lies outside its folder; it is not read")
        if not data.is_file():
            raise DataError(f"{file} keeps its weights in {data}, which is missing; copy it beside the .onnx file")
        found.append(data)
    return found


def _external_data(graph: Any) -> Iterator[Any]:
    for tensor in graph.initializer:
        yield from tensor.external_data
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                yield from tensor.external_data
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _external_data(inner)


def reason_of(error: BaseException) -> str:
    """What first went wrong, in one line of at most 200 characters, without the colours of a terminal."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(_COLOURS.sub("", str(error)).split())[:200] or type(error).__name__
