"""Benchmarks: data sets with the protocols that figures on them are made under."""

from anomseg.benchmarks.catalog import Benchmark, get_benchmark, resolve_protocol
from anomseg.benchmarks.protocol import Protocol
from anomseg.data import DATASETS
from anomseg.registry import BENCHMARKS, PROTOCOLS

for _entry in DATASETS:
    BENCHMARKS.register(_entry.name, f"anomseg.benchmarks.catalog:{_entry.name}", _entry.summary)

for _name, _target, _summary in (
    ("default", "own", "each benchmark's own rules"),
    ("smiyc", "smiyc", "pooled from float16 percentile bins, FPR95 at the first rate of .95 or more, components"),
    ("fishyscapes", "fishyscapes", "pooled, clean images kept, FPR95 at the first rate of .95 or more"),
    ("caos", "caos", "mean over images, clean images dropped, void pixels count, FPR95 at the nearest rate"),
    ("densehybrid", "densehybrid", "pooled, FPR95 at the first rate above .95"),
    ("pebal", "pebal", "pooled, clean images kept, FPR95 at the nearest rate"),
):
    PROTOCOLS.register(_name, f"anomseg.benchmarks.protocol:{_target}", _summary)

__all__ = ["BENCHMARKS", "PROTOCOLS", "Benchmark", "Protocol", "get_benchmark", "resolve_protocol"]
