"""The sets of cases by their names, and how a text becomes cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from anomseg.data.volumes.case import Case
from anomseg.errors import ConfigError, DataError
from anomseg.registry import Registry, Spec, parse_spec

CASES = Registry("set of cases")
CASES.register(
    "phantoms",
    "anomseg.data.volumes.phantoms:phantom_cases",
    "generated CT-like phantoms, and masks of a tumour that fail in known ways",
    tags=("generated",),
)
CASES.register(
    "nifti",
    "anomseg.data.volumes.folders:nifti_cases",
    "a folder of NIfTI files: images/, predictions/ and labels/ of equal names",
    path_option="root",
)
CASES.register(
    "msd_pancreas",
    "anomseg.data.volumes.decathlon:decathlon_cases",
    "CT of the pancreas and its tumours: Task07 of the Medical Segmentation Decathlon",
    path_option="root",
)
CASES.register(
    "pancreas_slices",
    "anomseg.data.volumes.stacks:slice_stacks",
    "three stacks of five real CT slices, of scans that are not known",
    path_option="root",
)


def load_cases(
    what: str | Spec, root: str | Path | None = None, *, parts: str = "", limit: int | None = None
) -> list[Case]:
    """The cases that a text names.

    Args:
        what: ``phantoms:count=50``, ``nifti:labels=1:pancreas+2:tumour``.
        root: Folder of the data, for sets that are read from one.
        parts: ``i/n`` or ``i+j/n``: every n-th group from the i-th on, so that one part trains what another tests.
        limit: The first cases only.

    Returns:
        The cases, in order.

    Raises:
        ConfigError: An unknown name or option, or parts that cannot be read.
        DataError: The data is not there, or nothing is left of it.

    Example:
        >>> [case.id for case in load_cases("phantoms:count=4", parts="1/2")]
        ['phantom-300001', 'phantom-300003']
    """
    spec = parse_spec(what) if isinstance(what, str) else what
    entry = CASES.get(spec.name)
    if "generated" in entry.tags and root is not None:
        raise ConfigError(f"{spec.name} are generated and lie in no folder; leave --root out")
    if root is not None:
        spec = replace(spec, options={**spec.options, "root": str(root)}, path=None)
    elif "generated" not in entry.tags and spec.path is None:
        raise ConfigError(f"{spec.name} needs the folder of its data; give --root DIR")
    found: list[Case] = CASES.create_from(spec)
    if parts:
        found = _part(found, parts)
    found = found[:limit] if limit is not None else found
    if not found:
        raise DataError(f"{spec} leaves no case; choose other parts or a higher limit")
    return found


def _part(cases: list[Case], parts: str) -> list[Case]:
    chosen, slash, count = parts.partition("/")
    numbers = [part.strip() for part in chosen.split("+")]
    if not slash or not count.isdecimal() or not all(one.isdecimal() and int(one) < int(count) for one in numbers):
        raise ConfigError(f"parts {parts!r} is not i/n or i+j/n with i and j below n, such as 0/4 or 1+2+3/4")
    kept = {int(one) for one in numbers}
    groups = sorted({case.cluster for case in cases})
    place = {group: number % int(count) for number, group in enumerate(groups)}
    return [case for case in cases if place[case.cluster] in kept]
