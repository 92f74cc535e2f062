"""List what is there: segmenters, detectors, benchmarks, protocols, recipes, or what is there for volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.errors import EXIT_OK, unknown_name

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

KINDS = ("segmenters", "detectors", "benchmarks", "protocols", "recipes", "volumes")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("kind", type=str, help=", ".join(KINDS))


def run(options: Namespace) -> int:
    """Print one line an entry: name, summary, tags."""
    if options.kind not in KINDS:
        raise unknown_name("kind", options.kind, KINDS)
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    for name, summary in _entries(options.kind):
        table.add_row(name, summary)
    Console(soft_wrap=False).print(table)
    return EXIT_OK


def _entries(kind: str) -> list[tuple[str, str]]:
    if kind == "recipes":
        from anomseg.training import recipe_names

        return [(name, f"anomseg train {name} --out DIR") for name in recipe_names()]
    if kind == "volumes":
        from anomseg.data.volumes.catalog import CASES
        from anomseg.detectors.synthcp.volumes.saved import VOLUME_DETECTORS

        return [(entry.name, entry.summary) for entries in (CASES, VOLUME_DETECTORS) for entry in entries]
    import anomseg.benchmarks
    import anomseg.detectors
    import anomseg.segmenters  # noqa: F401
    from anomseg import registry

    chosen = {
        "segmenters": registry.SEGMENTERS,
        "detectors": registry.DETECTORS,
        "benchmarks": registry.BENCHMARKS,
        "protocols": registry.PROTOCOLS,
    }[kind]
    if kind == "benchmarks":
        return [(entry.name, f"{entry.summary}; splits {_splits(entry.name)}") for entry in chosen]
    return [
        (entry.name, entry.summary + (f" [{', '.join(sorted(entry.tags))}]" if entry.tags else "")) for entry in chosen
    ]


def _splits(benchmark: str) -> str:
    from anomseg.data import dataset_spec

    spec = dataset_spec(benchmark)
    return ", ".join(
        f"{split.name} (default)" if split.name == spec.default_split else split.name for split in spec.splits
    )
