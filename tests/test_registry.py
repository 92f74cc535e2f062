from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomseg.errors import ConfigError
from anomseg.registry import Registry, Spec, convert_options, parse_spec, parse_specs

WORD = st.text("abcdefghij_", min_size=1, max_size=6)


@given(
    WORD, st.none() | st.text("abc/._-", min_size=1, max_size=9), st.dictionaries(WORD, st.text("xyz019.", max_size=4))
)
def test_a_printed_spec_reads_back(name, path, options):
    spec = Spec(name, path, options)
    assert parse_spec(str(spec)) == spec


def test_commas_separate_and_texts_repeat():
    assert [spec.name for spec in parse_specs(["a:x=1,b", "c"])] == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", ":x=1", "a:x=1;y"])
def test_broken_specs(text):
    with pytest.raises(ConfigError):
        parse_spec(text)


def _factory(path: str | None = None, k: int = 3, size: tuple[int, int] | None = None, on: bool = False) -> dict:
    return {"path": path, "k": k, "size": size, "on": on}


@pytest.fixture
def registry():
    found = Registry("thing")
    found.register("thing", f"{__name__}:_factory", "a thing", tags=("x",), path_option="path")
    found.register("bare", "builtins:dict", "takes anything")
    return found


def test_options_are_typed_by_the_signature(registry):
    made = registry.create_from(parse_spec("thing:file.bin;k=5;size=[2,3];on=true"))
    assert made == {"path": "file.bin", "k": 5, "size": (2, 3), "on": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thingg", "did you mean 'thing'"),
        ("thing:kk=1", "did you mean 'k'"),
        ("thing:k=five", "k"),
        ("bare:file", "takes no path"),
    ],
)
def test_mistakes_are_one_line(registry, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        registry.create_from(parse_spec(text))
    assert "\n" not in str(caught.value)


def test_a_name_is_taken_once(registry):
    with pytest.raises(ConfigError, match="already taken"):
        registry.register("thing", "builtins:list", "another")


def test_already_typed_values_pass(registry):
    assert convert_options(_factory, {"size": [4, 5], "path": None}, "x") == {"size": (4, 5), "path": None}


@pytest.mark.parametrize(
    "value",
    [
        {"class_path": "subprocess.Popen"},
        {"deep": [{"class_path": "subprocess.Popen"}]},
        "{class_path: subprocess.Popen}",
        '{"a": {"class_path": "subprocess.Popen"}}',
    ],
)
def test_class_paths_are_never_imported(value):
    def factory(options: Mapping[str, Any]): ...

    with pytest.raises(ConfigError, match="class paths are not taken"):
        convert_options(factory, {"options": value}, "x")


def _sized(size: tuple[int, int] | None = None, mode: Literal["fast", "slow"] = "fast"):
    return size, mode


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"mode": "quick"}, "a thing: mode: expected one of 'fast', 'slow', got quick"),
        ({"size": "[3]"}, "a thing: size: expected tuple[int, int], got [3]"),
    ],
)
def test_a_wrong_value_is_told_without_the_parser_s_words(option, told):
    with pytest.raises(ConfigError) as caught:
        convert_options(_sized, option, "a thing")
    assert str(caught.value) == told


def _needs_names(classes: list[str], size: int = 3):
    return classes, size


def test_an_option_without_a_default_is_asked_for():
    registry = Registry("network")
    registry.register("net", f"{__name__}:_needs_names", "a network")
    for build in (lambda: registry.create("net", size=4), lambda: registry.create_from(parse_spec("net:size=4"))):
        with pytest.raises(ConfigError) as caught:
            build()
        assert str(caught.value) == "network net needs classes: give classes=..."
    assert registry.create_from(parse_spec("net:classes=[a,b]")) == (["a", "b"], 3)
