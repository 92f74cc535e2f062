"""From the name of a search engine to an index of a bank."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor

from anomseg.detectors.knn.search.approximate import hnsw, ivf, pq
from anomseg.detectors.knn.search.base import NeighborIndex
from anomseg.detectors.knn.search.exact import ExactIndex
from anomseg.errors import unknown_name


def _exact(bank: Tensor, seed: int) -> NeighborIndex:  # noqa: ARG001 - every engine takes a seed
    return ExactIndex(bank)


ENGINES: dict[str, Callable[..., NeighborIndex]] = {"exact": _exact, "ivf": ivf, "hnsw": hnsw, "pq": pq}
"""Engines by name; each takes the bank, a seed and options of its own."""


def engine_options(engine: str) -> tuple[str, ...]:
    """Names of the options that an engine takes.

    Raises:
        ConfigError: There is no engine of this name.

    Example:
        >>> engine_options("exact")
        ()
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    return tuple(name for name in inspect.signature(ENGINES[engine]).parameters if name not in ("bank", "seed"))


def build_index(bank: Tensor, engine: str = "exact", seed: int = 0, **options: object) -> NeighborIndex:
    """Index a bank for search.

    Args:
        bank: ``(M, D)`` float32 or float16, possibly backed by a memory map; not to be changed while the index lives.
        engine: ``"exact"``; or approximate, with FAISS (the extra ``faiss``): ``"ivf"``, ``"hnsw"``, ``"pq"``.
        seed: Of an approximate index's training.
        **options: The engine's own, see `engine_options`.

    Returns:
        The index.

    Raises:
        ConfigError: The engine or an option is unknown or out of range, or FAISS is not installed.
        CompatibilityError: The bank is not a table of floats.
        DataError: The bank is empty, or a value is not finite.

    Example:
        >>> import torch
        >>> build_index(torch.eye(2)).distances(torch.tensor([[0.0, 3.0]]), k=1).tolist()
        [[2.0]]
    """
    known = engine_options(engine)
    for name in options:
        if name not in known:
            raise unknown_name(f"option of the engine {engine}", name, known)
    return ENGINES[engine](bank, seed=seed, **options)
