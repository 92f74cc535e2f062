"""Networks of transformers from a configuration, with weights that fit it exactly or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomseg.errors import CompatibilityError, DataError
from anomseg.files import read_json
from anomseg.segmenters.guarded import unusable
from anomseg.segmenters.huggingface.families import FAMILIES, OWN_ENCODER, Family
from anomseg.segmenters.huggingface.quiet import one_line, quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Keys of a configuration that make the library run code from elsewhere, fetch weights, change precision or answer in
# another form. None of them says what the network is.
_DROPPED = frozenset(
    {
        "_name_or_path", "name_or_path", "_commit_hash", "auto_map", "custom_pipelines", "quantization_config",
        "attn_implementation", "_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset",
        "experts_implementation", "_experts_implementation", "dtype", "torch_dtype", "transformers_version",
        "output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript",
    }
)  # fmt: skip
# Weights of training alone (text branch of OneFormer, losses, auxiliary heads), of classification alone (poolers), or
# tables that are computed rather than learned: checkpoints carry them, and no output depends on them.
_UNREAD = (
    r"(^|\.)(text_mapper|criterion|auxiliary_head|pooler|prompt_ctx)(\.|$)|"
    r"(relative_position_index|relative_coords_table|position_ids|num_batches_tracked)$"
)
_COMPUTED = r"(criterion\.empty_weight|num_batches_tracked|relative_position_index|position_ids)$"


def read_architecture(path: Path) -> dict[str, Any]:
    """The configuration in a ``config.json``.

    Raises:
        DataError: The file is damaged or holds no configuration.
    """
    architecture = read_json(path)
    if not isinstance(architecture, dict) or not isinstance(architecture.get("model_type"), str):
        raise DataError(f"{path} names no model_type, so it is no configuration of a transformers model")
    return architecture


def complete_architecture(architecture: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A configuration with every default written out, plain JSON, and without keys that say nothing of the network.

    Defaults pass through JSON once, since some that the library has as tuples it can only use as lists.

    Args:
        architecture: What ``config.json`` holds.
        what: Where it comes from, for messages.

    Raises:
        CompatibilityError: The library does not take it.
    """
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - heavy

    plain = _without_dropped(architecture)
    if any(part.get("model_type") == OWN_ENCODER for part in _parts(plain)):
        import anomseg.segmenters.huggingface.own_encoder  # noqa: F401, PLC0415 - makes it known to the library
    if plain.get("is_training"):  # OneFormer would ask for texts that only its loss reads
        plain["is_training"] = False
    for part in _parts(plain):
        name = part.get("backbone")
        if isinstance(name, str) and re.search(r"[/:\\]", name):
            raise CompatibilityError(
                f"{what} asks for the backbone {name!r} from elsewhere; write it as backbone_config"
            )
        if part.get("use_pretrained_backbone"):
            part["use_pretrained_backbone"] = False
    try:
        with quiet():
            complete = CONFIG_MAPPING[plain["model_type"]].from_dict(plain).to_json_string(use_diff=False)
    except Exception as error:  # the library raises many kinds
        raise CompatibilityError(f"the configuration in {what} cannot be read: {one_line(error, 300)}") from error
    return _without_dropped(json.loads(complete))


def build_network(
    architecture: Mapping[str, Any],
    network: str,
    what: str,
    folder: Path | None = None,
    unread: str = _UNREAD,
    ungiven: str = _COMPUTED,
) -> PreTrainedModel:
    """The network of a configuration.

    Args:
        architecture: As `complete_architecture` gives it.
        network: Name of the class of transformers, from a table of ours.
        what: Where the configuration comes from, for messages.
        folder: Directory whose safetensors are loaded; random weights without one.
        unread: Pattern of weights that may be left over, since no output depends on them.
        ungiven: Pattern of weights that may be missing, since they are not learned.

    Raises:
        CompatibilityError: The library cannot build it, or the weights are of another network.
        DataError: There are no weights, or they are damaged.
        MissingExtraError: The library cannot import its own class, as beside a torchvision that does not fit.
    """
    from transformers import CONFIG_MAPPING  # noqa: PLC0415 - heavy

    if folder is not None:
        _require_weights(folder, what)
    with quiet():
        config = CONFIG_MAPPING[architecture["model_type"]].from_dict(dict(architecture))
        kind = _class_of_transformers(network)
        if folder is not None:
            built, report = _with_weights(kind, config, folder, what)
            _require_fit(report, what, re.compile(unread), re.compile(ungiven))
            return built.eval()
        try:
            return kind(config).eval()
        except Exception as error:  # the library raises many kinds
            raise CompatibilityError(f"the network of {what} cannot be built: {one_line(error, 300)}") from error


def _class_of_transformers(name: str) -> Any:
    import transformers  # noqa: PLC0415 - heavy

    try:
        return getattr(transformers, name)
    except Exception as error:  # classes are imported when asked for; a broken torchvision then raises anything
        raise unusable(error, "transformers", "anomseg") from error


def family_of_network(network: PreTrainedModel) -> Family:
    """The family of a network at hand.

    Raises:
        CompatibilityError: It is of no known family.
    """
    name = type(network).__name__
    for family in FAMILIES.values():
        if family.network == name:
            return family
    known = ", ".join(family.network for family in FAMILIES.values())
    raise CompatibilityError(f"{name} is no segmentation network that can be used; those are {known}")


def _with_weights(kind: Any, config: Any, folder: Path, what: str) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    import torch  # noqa: PLC0415 - kept beside the call that needs it

    try:
        return kind.from_pretrained(
            str(folder),
            config=config,
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
            # Reported with the other differences, instead of a traceback that names them one by one.
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # the library and safetensors raise many kinds for damaged files
        raise DataError(f"the weights in {what} cannot be read: {one_line(error, 300)}") from error


def _require_fit(report: Mapping[str, Any], what: str, unread: re.Pattern[str], ungiven: re.Pattern[str]) -> None:
    missing = [name for name in report["missing_keys"] if not ungiven.search(name)]
    unexpected = [name for name in report["unexpected_keys"] if not unread.search(name)]
    shapes = [f"{name} is {tuple(found)}, not {tuple(wanted)}" for name, found, wanted in report["mismatched_keys"]]
    problems = [
        f"{label} {_first(names)}"
        for label, names in (("missing", missing), ("unexpected", unexpected), ("shape:", shapes))
        if names
    ]
    if problems:
        # The library would fill the gaps with random numbers and go on.
        raise CompatibilityError(f"the weights in {what} are of another network: {'; '.join(problems)}")


def _require_weights(folder: Path, what: str) -> None:
    if any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        return
    pickled = sorted(path.name for pattern in ("*.bin", "*.pth", "*.pt", "*.ckpt") for path in folder.glob(pattern))
    if pickled:
        raise DataError(
            f"{what} has its weights as {pickled[0]}, which is not unpickled; load it in transformers where you trust "
            "it and write it again with save_pretrained, which gives model.safetensors"
        )
    raise DataError(
        f"{what} has no model.safetensors; weights as .bin are not loaded (write them again with save_pretrained), and "
        "for a network of random weights say random_weights=true"
    )


def _without_dropped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_dropped(item) for key, item in value.items() if key not in _DROPPED}
    if isinstance(value, list | tuple):
        return [_without_dropped(item) for item in value]
    return value


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _parts(item)


def _first(names: Iterable[str], count: int = 3) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - count} more" if len(ordered) > count else ""
    return ", ".join(ordered[:count]) + more
