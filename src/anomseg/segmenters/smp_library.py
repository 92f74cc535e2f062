"""What segmentation-models-pytorch is asked for: which networks there are, how one is built, how it is stored."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from anomseg.errors import CompatibilityError, ConfigError, DataError, unknown_name
from anomseg.files import read_json
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.guarded import import_extra, unknown_of_many
from anomseg.segmenters.pixels import IMAGENET

# Set by us, so not among the options of an architecture.
_SETTLED = {"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "kwargs"}
# Taken beside the named ones: of earlier releases, and those by which timm's transformers take other image sizes.
_MORE = {"decoder_use_batchnorm", "psp_use_batchnorm", "img_size", "dynamic_img_size", "strict_img_size"}
_TIMM = "tu-"


@dataclass(frozen=True)
class Source:
    """What a checkpoint or a directory holds.

    Attributes:
        state: Tensors by name, those of an image-classification head left out.
        outputs: Channels of the last layer.
        arch: Name of the architecture where the directory says it.
        encoder: Name of its encoder, likewise.
        options: The architecture's further options, likewise.
    """

    state: Mapping[str, Tensor]
    outputs: int
    arch: str | None = None
    encoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def library() -> Any:
    """The library.

    Raises:
        MissingExtraError: It cannot be imported.
    """
    return import_extra("segmentation_models_pytorch", "segmentation-models-pytorch", "smp")


def read_source(path: str | Path) -> Source:
    """Read a state dict, or a directory that the library's ``save_pretrained`` wrote.

    Raises:
        DataError: A file is missing or damaged, or the directory was written by something else.
        CompatibilityError: The network takes other images than RGB, or the weights are of something else.
    """
    folder = Path(path)
    if not folder.is_dir():
        state = load_checkpoint(folder)
        return Source(_without_classifier(state), _outputs(state, str(folder)))
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("_model_class"), str):
        other = (
            " (it is a transformers directory: hf:DIR)" if isinstance(config, dict) and "model_type" in config else ""
        )
        raise DataError(
            f"{folder / 'config.json'} names no architecture of segmentation-models-pytorch{other}; "
            "give a directory written by save_pretrained of that library"
        )
    if config.get("in_channels", 3) != 3:
        raise CompatibilityError(f"the network in {folder} takes {config['in_channels']} channels; images have 3")
    options = {key: value for key, value in config.items() if not key.startswith("_") and key not in _SETTLED}
    state = load_checkpoint(folder / "model.safetensors")
    return Source(
        _without_classifier(state),
        _outputs(state, str(folder)),
        config["_model_class"].lower(),
        str(config.get("encoder_name", "resnet34")),
        options,
    )


def build_network(arch: str, encoder: str, outputs: int, options: Mapping[str, Any]) -> Any:
    """An untrained network (the library's ``SegmentationModel``) that gives logits; nothing is downloaded.

    Args:
        arch: Name of an architecture, as in the library's ``create_model``.
        encoder: Name of an encoder; ``tu-NAME`` for one of timm's.
        outputs: Channels of the last layer.
        options: Further options of the architecture, such as ``decoder_channels``.

    Raises:
        ConfigError: An unknown name or option, or a combination that the library refuses.
        MissingExtraError: The library cannot be imported.
    """
    smp = library()
    architectures = smp.MODEL_ARCHITECTURES_MAPPING
    if arch not in architectures:
        raise unknown_name("architecture of smp", arch, architectures)
    _check_encoder(smp, encoder)
    if options.get("activation") is not None:
        raise ConfigError("smp: leave activation out; scores need the logits before it, and so it is never applied")
    known = (set(inspect.signature(architectures[arch]).parameters) - _SETTLED) | _MORE
    for name in options:
        if name not in known:
            raise unknown_name(f"option of smp {arch}", name, known)
    # The vision transformers under DPT are built for one image size unless told otherwise.
    options = {**({"dynamic_img_size": True} if arch == "dpt" else {}), **options}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return smp.create_model(
                arch, encoder_name=encoder, encoder_weights=None, in_channels=3, classes=outputs, **options
            )
    except Exception as error:  # the library raises many kinds for combinations that do not go together
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"smp cannot build {arch} on the encoder {encoder}: {reason}") from error


def statistics(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that an encoder's input is normalised with, where nothing else is said.

    ImageNet's, for encoders of timm (``tu-NAME``) what timm says. The library keeps those of its own encoders on
    the network; a few (Inception, Xception, DPN) were trained with others.
    """
    if encoder.startswith(_TIMM):
        timm = import_extra("timm", "timm", "timm")
        config = timm.get_pretrained_cfg(encoder.removeprefix(_TIMM))
        if config is not None:
            return tuple(config.mean), tuple(config.std)
    return IMAGENET


def _check_encoder(smp: Any, encoder: str) -> None:
    names = smp.encoders.get_encoder_names()
    if not encoder.startswith(_TIMM):
        if encoder not in names:
            raise unknown_of_many(
                "encoder of smp", encoder, names, "segmentation_models_pytorch.encoders.get_encoder_names()"
            )
        return
    timm = import_extra("timm", "timm", "timm")
    # timm would fetch a name of the form hf-hub:... from the network.
    if not timm.is_model(encoder.removeprefix(_TIMM)):
        raise unknown_of_many(
            "encoder of smp", encoder, (_TIMM + name for name in timm.list_models()), "timm.list_models()"
        )


def _without_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith("classification_head.")}


def _outputs(state: Mapping[str, Tensor], what: str) -> int:
    heads = sorted(name for name in state if name.startswith("segmentation_head.") and name.endswith(".bias"))
    if not heads:
        raise CompatibilityError(
            f"{what} is of no network of segmentation-models-pytorch: it has no segmentation_head "
            f"(it begins with {next(iter(state), 'nothing')!r})"
        )
    return int(state[heads[-1]].shape[0])
