"""What several parts of a detector were trained on, as one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anomseg.detectors.fitting import digest_of


def joined(*records: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """One ``fitted_on`` of several: all frames that any part has seen, once; of other entries the last word.

    Args:
        records: See `Detector.fitted_on`; None where a part has none.

    Returns:
        The record; None where there is none.

    Example:
        >>> one = {"data": "camvid@train (1)", "frames": 1, "fingerprints": ["a"], "steps": 5}
        >>> found = joined(one, None, {"data": "camvid@val (2)", "frames": 2, "fingerprints": ["b", "a"]})
        >>> found["data"], found["frames"], found["fingerprints"], found["steps"]
        ('camvid@train (1); camvid@val (2)', 2, ['a', 'b'], 5)
    """
    known = [record for record in records if record and isinstance(record.get("fingerprints"), list)]
    if not known:
        return None
    prints = sorted({item for record in known for item in record["fingerprints"]})
    merged: dict[str, Any] = {}
    for record in known:
        merged |= record
    data = "; ".join(dict.fromkeys(str(record["data"]) for record in known if record.get("data")))
    return {**merged, "data": data, "frames": len(prints), "sha256": digest_of(prints), "fingerprints": prints}
