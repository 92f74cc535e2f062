"""Configuration files of comparisons: read from YAML, and checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from anomseg.benchmarks import BENCHMARKS, PROTOCOLS, get_benchmark
from anomseg.compare.config import TASKS, Bench, CompareConfig, CostRules, FitData
from anomseg.compare.rows import read_rows
from anomseg.compare.values import (
    absolute,
    check_keys,
    checked_segmenter,
    listed,
    size_of,
    text_of,
    texts,
    whole,
)
from anomseg.data import dataset_spec
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.evaluation.failure.judging import Unknown
from anomseg.registry import parse_spec

_KEYS = ("task", "benchmark", "benchmarks", "segmenter", "seed", "reference", "fit", "costs", "detectors")
_BENCH = ("name", "title", "root", "split", "held_out", "protocol", "size", "bands", "unknown", "blocks")
_FIT = ("data", "held_out", "limit")
_COSTS = ("size", "repeats", "warmup")


def read_config(path: str | Path, roots: Mapping[str, str] | None = None) -> CompareConfig:
    """Read and check a configuration.

    Args:
        path: A YAML file; relative paths in it start from its folder.
        roots: Folders of benchmarks or of data to fit on, by name, instead of the file's; relative to where we are.

    Raises:
        DataError: The file is missing or is not YAML.
        ConfigError: Something in it cannot be used; the message names the entry.
    """
    source = Path(path)
    try:
        content = yaml.safe_load(source.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is not YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source} holds no configuration; 'anomseg compare --template' prints one to start from")
    try:
        return parse_config(content, source.resolve().parent, roots or {})
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def parse_config(content: Mapping[str, Any], folder: Path, roots: Mapping[str, str]) -> CompareConfig:
    """Check the content of a configuration file.

    Args:
        content: As YAML gives it.
        folder: Where relative paths start.
        roots: See `read_config`.

    Raises:
        ConfigError: Something in it cannot be used.
    """
    check_keys(content, _KEYS, "entry")
    task = content.get("task", "anomaly")
    if task not in TASKS:
        raise unknown_name("task", str(task), TASKS)
    benches = _benches(content, folder, dict(roots))
    fit = _fit(content.get("fit"), folder, dict(roots))
    rows = read_rows(content.get("detectors"), folder, fitted=fit is not None)
    config = CompareConfig(
        segmenter=checked_segmenter(content.get("segmenter", "bundled"), folder),
        benchmarks=benches,
        rows=rows,
        task=task,
        seed=whole(content.get("seed", 0), "seed", least=0),
        reference=text_of(content["reference"], "reference") if content.get("reference") is not None else None,
        fit=fit,
        costs=_costs(content.get("costs")),
    )
    if config.reference is not None:
        config.row(config.reference)
    for bench in benches:
        if task == "failure" and bench.bands:
            raise ConfigError(f"bands of benchmark {bench.title} are about anomalies and go with task: anomaly only")
    return config


def _benches(content: Mapping[str, Any], folder: Path, roots: dict[str, str]) -> tuple[Bench, ...]:
    if "benchmark" in content and "benchmarks" in content:
        raise ConfigError("give benchmark or benchmarks, not both")
    given = content.get("benchmarks", content.get("benchmark"))
    items = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if given is None or not items:
        raise ConfigError("no benchmark is named; write benchmark: {name: road_anomaly, root: DIR}")
    benches = [_bench(item, folder, roots) for item in items]
    titles = [one.title for one in benches]
    for title in titles:
        if titles.count(title) > 1:
            raise ConfigError(f"two benchmarks are called {title!r}; give each a title of its own")
    fit = content.get("fit")
    known = {*titles, *(one.name for one in benches), *(_names(fit.get("data")) if isinstance(fit, Mapping) else ())}
    for name in roots:
        if name not in known:
            raise unknown_name("--root", name, known)
    return tuple(benches)


def _bench(item: Any, folder: Path, roots: Mapping[str, str]) -> Bench:
    entry = {"name": item} if isinstance(item, str) else item
    if not isinstance(entry, Mapping):
        raise ConfigError(f"benchmark {item!r} is neither a name nor name: value pairs")
    check_keys(entry, _BENCH, "key of benchmark")
    name = text_of(entry.get("name"), "benchmark name")
    if parse_spec(name).name not in BENCHMARKS:
        raise unknown_name("benchmark", parse_spec(name).name, BENCHMARKS.names())
    spec, held_out = get_benchmark(name).spec, texts(entry.get("held_out"), "held_out")
    if held_out:
        spec.anomalous(held_out)  # says which name is unknown
    title = text_of(entry.get("title", parse_spec(name).name), "benchmark title")
    given = roots.get(title, roots.get(parse_spec(name).name))
    root = Path(given) if given else absolute(entry["root"], folder) if entry.get("root") is not None else None
    if root is None:
        raise ConfigError(f"benchmark {title} has no root; write root: DIR, or give --root.{title} DIR")
    if not root.is_dir():
        raise ConfigError(f"benchmark {title}: there is no folder {root}; mend root, or give --root.{title} DIR")
    split = entry.get("split")
    splits = [one.name for one in spec.splits]
    if split is not None and str(split) not in splits:
        raise unknown_name(f"split of {name}", str(split), splits)
    protocol = text_of(entry.get("protocol", "default"), "protocol")
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", protocol, PROTOCOLS.names())
    unknown = entry.get("unknown", "void")
    if unknown not in get_args(Unknown):
        raise unknown_name(f"rule for unknown pixels of {title}", str(unknown), get_args(Unknown))
    return Bench(
        title,
        name,
        root,
        str(split) if split is not None else None,
        held_out,
        protocol,
        size_of(entry.get("size"), f"size of benchmark {title}"),
        tuple(whole(one, "bands", least=1) for one in listed(entry.get("bands"))),
        "wrong" if unknown == "wrong" else "void",
        whole(entry["blocks"], f"blocks of benchmark {title}", least=2) if entry.get("blocks") is not None else None,
    )


def _fit(value: Any, folder: Path, roots: Mapping[str, str]) -> FitData | None:
    if value is None:
        return None
    entry = value if isinstance(value, Mapping) else {"data": value}
    check_keys(entry, _FIT, "key of fit")
    data = []
    for text in texts(entry.get("data"), "fit data"):
        name, equals, rest = text.partition("=")
        root, at, split = rest.rpartition("@")
        root, split = (root, split) if at and "/" not in split else (rest, "")
        place = Path(roots[name]) if name in roots else absolute(root, folder) if equals and root else None
        if name not in BENCHMARKS:
            raise unknown_name("data set", name, BENCHMARKS.names())
        if place is None or not place.is_dir():
            raise ConfigError(f"fit: {text!r} is not NAME=ROOT[@SPLIT] with a folder that is there")
        splits = [one.name for one in dataset_spec(name).splits]
        if split and split not in splits:
            raise unknown_name(f"split of {name}", split, splits)
        data.append(f"{name}={place}" + (f"@{split}" if split else ""))
    if not data:
        raise ConfigError("fit: no data is named; write fit: {data: camvid=DIR@train}")
    limit = entry.get("limit")
    held_out = texts(entry.get("held_out"), "held_out")
    return FitData(tuple(data), held_out, None if limit is None else whole(limit, "limit of fit", least=1))


def _costs(value: Any) -> CostRules | None:
    if value is False:
        return None
    if value is None or value is True:
        return CostRules()
    if not isinstance(value, Mapping):
        raise ConfigError(f"costs: {value!r} is neither false nor size, repeats, warmup")
    check_keys(value, _COSTS, "key of costs")
    usual = CostRules()
    return CostRules(
        size_of(value.get("size"), "size of costs"),
        whole(value.get("repeats", usual.repeats), "repeats of costs", least=1),
        whole(value.get("warmup", usual.warmup), "warmup of costs", least=0),
    )


def _names(value: Any) -> list[str]:
    return [text.partition("=")[0] for text in listed(value) if isinstance(text, str)]
