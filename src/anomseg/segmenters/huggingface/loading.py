"""The one way in: a directory, a hub id, a configuration, or a network at hand becomes a segmenter."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anomseg.data.label_space import label_space
from anomseg.errors import ConfigError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.huggingface.backbone import (
    BACKBONE_KINDS,
    UNGIVEN,
    UNREAD,
    TransformersBackbone,
    backbone_architecture,
)
from anomseg.segmenters.huggingface.building import (
    build_network,
    complete_architecture,
    family_of_network,
    read_architecture,
)
from anomseg.segmenters.huggingface.families import family_of
from anomseg.segmenters.huggingface.hub import CONFIG, model_folder
from anomseg.segmenters.huggingface.mask_training import TRAINABLE, MatchedSegmenter
from anomseg.segmenters.huggingface.preprocessing import Preprocessing, read_preprocessing
from anomseg.segmenters.huggingface.segmenter import TransformersSegmenter
from anomseg.segmenters.huggingface.task import semantic_tokens
from anomseg.segmenters.pixels import IMAGENET


def load_transformers(
    model: str | Any | None = None,
    *,
    architecture: dict[str, Any] | None = None,
    size: Size | None = None,
    shortest_edge: int | None = None,
    longest_edge: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | None = None,
    bgr: bool | None = None,
    classes: list[str] | str | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    negative: str | None = None,
    task_tokens: Sequence[int] | None = None,
    random_weights: bool = False,
) -> Segmenter:
    """A segmentation network of transformers.

    Args:
        model: Directory, hub id or ``config.json``; from Python also a model or a configuration of transformers.
        architecture: In place of ``model``, the configuration itself, as a saved segmenter has it beside its weights;
            one that says nothing of labels gets as many as there are ``classes``.
        size: Working size ``(height, width)`` that images are stretched to.
        shortest_edge: Images are resized to this shortest side, aspect kept; 0 leaves them as they are. By default
            what the network's files name, else 0.
        longest_edge: Bound of the longest side; 0 sets none.
        mean: Mean of the RGB values in [0, 1], instead of that in the network's files.
        std: Their deviation, likewise.
        scale: What 1.0 is before the mean is taken off, likewise: 1, or 255 for networks of raw values.
        bgr: The network reads blue first, likewise.
        classes: Class names, or the name of a label space such as ``cityscapes``.
        palette: One RGB triple a class.
        negative: Class that stands for negatives (mask heads; for the detector ``uno``).
        task_tokens: What OneFormer is told its task by.
        random_weights: Take a configuration without weights, and fill the network at random.

    Returns:
        The segmenter, in evaluation mode.

    Raises:
        ConfigError: An option that does not fit, or a configuration without ``random_weights``.
        DataError: Nothing is found, the hub cannot be reached, or a file is damaged.
        CompatibilityError: Another architecture, or weights that do not fit it.
    """
    if architecture is not None:
        architecture = _with_labels(architecture, classes)
    source = _open(model, architecture, random_weights)
    backbone = source.network.config.model_type in BACKBONE_KINDS
    moments = IMAGENET if backbone else family_of_network(source.network).moments
    facts = _overridden(
        read_preprocessing(source.folder, moments),
        {"mean": mean and tuple(mean), "std": std and tuple(std), "scale": scale, "bgr": bgr},
        {"shortest_edge": shortest_edge, "longest_edge": longest_edge},
    )
    segmenter: Segmenter
    if backbone:
        of_heads = {"classes": classes, "palette": palette, "negative": negative, "task_tokens": task_tokens}
        if given := [name for name, value in of_heads.items() if value is not None]:
            raise ConfigError(
                f"{given[0]} is for segmentation networks; a {source.network.config.model_type} has features alone"
            )
        segmenter = TransformersBackbone(source.network, facts, size, source.random_weights)
    else:
        if task_tokens is None and source.network.config.model_type == "oneformer":
            task_tokens = semantic_tokens(source.folder, int(source.network.config.task_seq_len))
        kind = MatchedSegmenter if source.network.config.model_type in TRAINABLE else TransformersSegmenter
        segmenter = kind(source.network, facts, classes, palette, size, negative, task_tokens, source.random_weights)
    segmenter.title = source.title
    return segmenter


@dataclass(frozen=True)
class _Source:
    network: Any
    folder: Path | None = None
    title: str | None = None
    random_weights: bool = False


def _with_labels(architecture: dict[str, Any], classes: list[str] | str | None) -> dict[str, Any]:
    if classes is None or {"num_labels", "id2label"} & {*architecture}:
        return architecture
    count = len(label_space(classes).names if isinstance(classes, str) else classes)
    return {**architecture, "num_labels": count}


def _open(model: Any, architecture: dict[str, Any] | None, random_weights: bool) -> _Source:
    if isinstance(model, str | Path):
        return _from_files(str(model), random_weights)
    if model is not None:
        return _from_object(model, random_weights)
    if architecture is None:
        raise ConfigError("hf needs a directory, a hub id or a config.json; write hf:DIR")
    # A saved segmenter: its weights are loaded by whoever asked, strictly.
    return _Source(_built(architecture, "the saved architecture"), random_weights=random_weights)


def _from_files(text: str, random_weights: bool) -> _Source:
    path = model_folder(text)
    if path.is_file():
        return _Source(_built_at_random(read_architecture(path), text, random_weights), None, path.stem, True)
    title = path.name if Path(text).expanduser().is_dir() else text
    architecture = read_architecture(path / CONFIG)
    if random_weights:
        return _Source(_built(architecture, text), path, title, True)
    return _Source(_built(architecture, text, path), path, title)


def _from_object(model: Any, random_weights: bool) -> _Source:
    if not is_transformers_object(model):
        raise ConfigError(f"{type(model).__name__} is no model or configuration of transformers")
    if hasattr(model, "state_dict"):
        return _Source(model, random_weights=random_weights)
    architecture = json.loads(model.to_json_string(use_diff=False))
    return _Source(_built_at_random(architecture, type(model).__name__, random_weights), random_weights=True)


def _built_at_random(architecture: Mapping[str, Any], what: str, allowed: bool) -> Any:
    if not allowed:
        if architecture.get("model_type") not in BACKBONE_KINDS:
            family_of(architecture, what, BACKBONE_KINDS)
        raise ConfigError(
            f"{what} is a configuration without weights, and a network of random weights scores as if it knew; "
            "give the directory with its weights, or say random_weights=true"
        )
    return _built(architecture, what)


def _built(architecture: Mapping[str, Any], what: str, folder: Path | None = None) -> Any:
    if architecture.get("model_type") in BACKBONE_KINDS:
        complete = backbone_architecture(architecture, what)
        return build_network(complete, BACKBONE_KINDS[complete["model_type"]], what, folder, UNREAD, UNGIVEN)
    family = family_of(architecture, what, BACKBONE_KINDS)
    return build_network(complete_architecture(architecture, what), family.network, what, folder)


def _overridden(facts: Preprocessing, values: Mapping[str, Any], edges: Mapping[str, int | None]) -> Preprocessing:
    given = {key: value for key, value in values.items() if value is not None}
    # 0 says "no edge" where None says "as in the files".
    given |= {key: value or None for key, value in edges.items() if value is not None}
    if any(value is not None and value < 0 for value in edges.values()):
        raise ConfigError("shortest_edge and longest_edge are sides in pixels, or 0 for none")
    return replace(facts, **given)


def is_transformers_object(what: object) -> bool:
    """Whether ``what`` is a model or configuration of transformers, told without importing it."""
    kinds = []
    for module, name in (("modeling_utils", "PreTrainedModel"), ("configuration_utils", "PreTrainedConfig")):
        loaded = sys.modules.get(f"transformers.{module}")
        if loaded is not None:
            kinds.append(getattr(loaded, name))
    return isinstance(what, tuple(kinds))
