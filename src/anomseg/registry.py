"""One registry for each kind of part: a name stands for a factory, with tags that say what the part can do.

Factories are given as ``"module:attribute"`` and imported when first used, so that listing names costs nothing.
Names that come from files or the command line resolve here and nowhere else.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anomseg.errors import ConfigError, unknown_name

_EXPECTED = re.compile(r"Expected a <class '(\w+)'>\. Got value: (\S*)")
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "a text"}
_CHOICE = re.compile(r"Expected a typing\.Literal\[([^\]]*)\]\. Got value: (.*)")
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: (.*)"
)
_OUTER_COMMA = re.compile(r",(?![^\[\]]*\])")
# jsonargparse imports whatever a value of this form names.
_CLASS_PATH = re.compile(r"\bclass_path\b[\"']?\s*:")


@dataclass(frozen=True)
class Entry:
    """One registered part.

    Attributes:
        name: Its name, as users write it.
        target: ``"module:attribute"`` of the factory.
        summary: One line for ``anomseg list``.
        tags: What it can do or needs, such as ``"fitted"`` or ``"control"``.
        path_option: The constructor argument that a leading path stands for (``erfnet:weights.safetensors``).
    """

    name: str
    target: str
    summary: str
    tags: frozenset[str] = frozenset()
    path_option: str | None = None

    @property
    def factory(self) -> Callable[..., Any]:
        """The factory itself, imported now."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class Spec:
    """A part as written on the command line: ``name:path;key=value;key=value``."""

    name: str
    path: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The same thing as the user would write it."""
        items = ([self.path] if self.path else []) + [f"{key}={value}" for key, value in self.options.items()]
        return self.name + (":" + ";".join(items) if items else "")


class Registry:
    """Names of one kind of part, and their factories.

    Args:
        kind: What the names stand for, for messages (``"detector"``).

    Example:
        >>> colours = Registry("colour")
        >>> colours.register("red", "builtins:dict", "the colour red")
        >>> colours.create("red", a=1)
        {'a': 1}
        >>> colours.create("rde")
        Traceback (most recent call last):
        anomseg.errors.ConfigError: unknown colour 'rde': did you mean 'red'? (known: red)
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}

    def register(
        self, name: str, target: str, summary: str, *, tags: Iterable[str] = (), path_option: str | None = None
    ) -> None:
        """Add a part; see `Entry` for the arguments."""
        if name in self._entries and self._entries[name].target != target:
            raise ConfigError(f"the {self.kind} name {name!r} is already taken by {self._entries[name].target}")
        self._entries[name] = Entry(name, target, summary, frozenset(tags), path_option)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def names(self, tag: str | None = None) -> list[str]:
        """All names in order of registration, or those that carry ``tag``."""
        return [entry.name for entry in self if tag is None or tag in entry.tags]

    def get(self, name: str) -> Entry:
        """Look a name up.

        Raises:
            ConfigError: It is unknown; the message suggests the nearest known one.
        """
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def create(self, name: str, **options: Any) -> Any:
        """Build a part from Python values.

        Raises:
            ConfigError: The name or an option is unknown, or one is missing that has no default.
        """
        factory = self.get(name).factory
        known = option_names(factory)
        for key in options:
            if known is not None and key not in known:
                raise unknown_name(f"option of {self.kind} {name}", key, known)
        require_options(factory, options, f"{self.kind} {name}")
        return factory(**options)

    def create_from(self, spec: Spec) -> Any:
        """Build a part from text options, converted and checked by the factory's type hints.

        Raises:
            ConfigError: An unknown name or option, one that is missing, a value of the wrong type, or a path where
                none is taken.
        """
        entry = self.get(spec.name)
        options: dict[str, Any] = dict(spec.options)
        if spec.path is not None:
            if entry.path_option is None:
                raise ConfigError(f"{self.kind} {spec.name} takes no path, got {spec.path!r}; options are key=value")
            options.setdefault(entry.path_option, spec.path)
        known = option_names(entry.factory)
        for key in options:
            if known is not None and key not in known:
                raise unknown_name(f"option of {self.kind} {spec.name}", key, known)
        require_options(entry.factory, options, f"{self.kind} {spec.name}")
        return entry.factory(**convert_options(entry.factory, options, f"{self.kind} {spec.name}"))


def option_names(factory: Callable[..., Any]) -> list[str] | None:
    """Names of a factory's arguments; None where it takes any."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]


def require_options(factory: Callable[..., Any], options: Iterable[str], what: str) -> None:
    """Refuse options that lack one without a default.

    Args:
        factory: Class or function whose signature is the configuration.
        options: Names of those that are given.
        what: What is configured, for messages.

    Raises:
        ConfigError: One is missing.

    Example:
        >>> def factory(classes, size=None): ...
        >>> require_options(factory, ["size"], "segmenter pyramid")
        Traceback (most recent call last):
        anomseg.errors.ConfigError: segmenter pyramid needs classes: give classes=...
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [part.name for part in parameters if part.default is part.empty and part.kind not in variable]
    missing = [name for name in needed if name not in {*options}]
    if missing:
        raise ConfigError(f"{what} needs {' and '.join(missing)}: give {';'.join(f'{name}=...' for name in missing)}")


def convert_options(factory: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Convert option texts to the types that the factory's signature declares.

    Args:
        factory: Class or function whose signature is the configuration.
        options: Values, as text (from a command line) or already typed (from YAML or JSON).
        what: What is configured, for messages.

    Returns:
        The options, typed.

    Raises:
        ConfigError: A value does not fit its declared type.

    Example:
        >>> def factory(k: int = 3, name: str = "a"): ...
        >>> convert_options(factory, {"k": "5"}, "thing")
        {'k': 5}
    """
    from jsonargparse import ArgumentParser  # noqa: PLC0415 - only needed when options are given

    if not options:
        return {}
    given = {key: value for key, value in options.items() if value is not None}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
    if any(_CLASS_PATH.search(text) for text in texts.values()):
        raise ConfigError(f"{what}: class paths are not taken from options or files; use a registered name")
    parser = ArgumentParser(exit_on_error=False)
    add = parser.add_class_arguments if inspect.isclass(factory) else parser.add_function_arguments
    add(factory, sub_configs=False, fail_untyped=False, skip={*(option_names(factory) or ())} - {*options})
    try:
        parsed = parser.parse_args([f"--{key}={text}" for key, text in texts.items()])
    except Exception as error:  # jsonargparse raises its own kinds
        raise ConfigError(f"{what}: {plain_reason(str(error))}") from error
    typed = parsed.as_dict()
    return {key: typed[key] if value is not None else None for key, value in options.items()}


def plain_reason(text: str) -> str:
    """A complaint of the argument parser in one line and in a user's words.

    Example:
        >>> plain_reason('Parser key "range" element 1: ' + "Expected a <class 'float'>. Got value: nan")
        'range (element 1): expected a number, got nan'
        >>> plain_reason('Parser key "stride": Expected a typing.Literal[8, 16]. Got value: 32')
        'stride: expected one of 8, 16, got 32'
    """
    text = " ".join(text.split())
    text = re.sub(r'Parser key "([^"]+)" (element \d+):', r"\1 (\2):", text)
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
    text = _CHOICE.sub(r"expected one of \1, got \2", text)
    text = _UNION.sub(lambda match: f"expected {_plain_types(match[1])}, got {match[2]}", text)
    return _EXPECTED.sub(lambda match: f"expected {_KINDS.get(match[1], match[1])}, got {match[2]}", text)


def _plain_types(text: str) -> str:
    text = text.replace(", <class 'NoneType'>", "")
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", lambda match: _KINDS.get(match[1], match[1]), text)


def parse_spec(text: str) -> Spec:
    """Read ``name:path;key=value``; a first item without ``=`` is the path.

    Raises:
        ConfigError: An item after the first has no ``=``, or the name is missing.

    Example:
        >>> parse_spec("knn:k=3;reduction=max")
        Spec(name='knn', path=None, options={'k': '3', 'reduction': 'max'})
        >>> parse_spec("erfnet:weights.safetensors").path
        'weights.safetensors'
    """
    name, _, rest = text.strip().partition(":")
    if not name:
        raise ConfigError(f"{text!r} names nothing; write NAME or NAME:key=value;key=value")
    path: str | None = None
    options: dict[str, str] = {}
    for position, item in enumerate(part for part in rest.split(";") if part):
        key, equals, value = item.partition("=")
        if equals:
            options[key.strip()] = value.strip()
        elif position == 0:
            path = item.strip()
        else:
            raise ConfigError(f"{item!r} in {text!r} is not key=value")
    return Spec(name, path, options)


def split_parts(texts: Iterable[str]) -> list[str]:
    """Cut texts at their commas, but not at those of a list in brackets.

    Example:
        >>> split_parts(["maskomaly:ground=[19,24];border=0.2, msp", "sml"])
        ['maskomaly:ground=[19,24];border=0.2', 'msp', 'sml']
    """
    return [part.strip() for text in texts for part in _OUTER_COMMA.split(text) if part.strip()]


def parse_specs(texts: Iterable[str]) -> list[Spec]:
    """Read several parts: commas separate them within a text, and there may be several texts.

    Example:
        >>> [str(spec) for spec in parse_specs(["knn:k=3;reduction=max,msp", "sml"])]
        ['knn:k=3;reduction=max', 'msp', 'sml']
    """
    return [parse_spec(part) for part in split_parts(texts)]


SEGMENTERS = Registry("segmenter")
DETECTORS = Registry("detector")
BENCHMARKS = Registry("benchmark")
PROTOCOLS = Registry("protocol")
STAGES = Registry("training stage")
