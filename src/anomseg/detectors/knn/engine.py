"""Options of a search engine, as one writes them on a command line."""

from __future__ import annotations

from anomseg.detectors.knn.search import engine_options
from anomseg.errors import ConfigError, unknown_name


def parse_engine_options(engine: str, text: str) -> dict[str, int]:
    """Read ``name:number+name:number``; their values are checked when an index is built.

    Args:
        engine: The engine they are for.
        text: Such as ``nprobe:8+nlist:400``; empty for the engine's own choice.

    Raises:
        ConfigError: It is not of this form, or the engine has no such option.

    Example:
        >>> parse_engine_options("ivf", "nprobe:8+nlist:400")
        {'nprobe': 8, 'nlist': 400}
        >>> parse_engine_options("exact", "nprobe:8")
        Traceback (most recent call last):
        anomseg.errors.ConfigError: the engine exact takes no options, got 'nprobe'
    """
    known = engine_options(engine)
    options = {}
    for item in (part.strip() for part in text.split("+") if part.strip()):
        name, _, number = (part.strip() for part in item.partition(":"))
        if not known:
            raise ConfigError(f"the engine {engine} takes no options, got {name!r}")
        if name not in known:
            raise unknown_name(f"option of the engine {engine}", name, known)
        if not number.isdecimal():
            raise ConfigError(f"engine_options are written name:number+name:number, such as {known[0]}:8; got {item!r}")
        options[name] = int(number)
    return options
