"""The registered segmenters and the one function that loads any of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from anomseg.errors import ConfigError
from anomseg.registry import SEGMENTERS, Spec, parse_spec
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.saved import is_segmenter_directory, load_saved_segmenter

BUNDLED = Path(__file__).parent / "weights" / "bundled"
BUNDLED_MASK = Path(__file__).parent / "weights" / "bundled-mask"

SEGMENTERS.register(
    "bundled",
    "anomseg.segmenters.catalog:load_bundled",
    "small road-scene network, CamVid's eleven classes, shipped with the package (non-commercial weights)",
    tags=("logits", "features", "weights"),
)
SEGMENTERS.register(
    "bundled-mask",
    "anomseg.segmenters.catalog:load_bundled_mask",
    "small mask transformer (Mask2Former), CamVid's eleven classes, shipped with the package (non-commercial weights)",
    tags=("logits", "masks", "features", "weights"),
)
SEGMENTERS.register(
    "erfnet",
    "anomseg.segmenters.erfnet:ERFNet",
    "ERFNet (Romera et al. 2018) from a checkpoint of yours: erfnet:WEIGHTS",
    tags=("logits", "features", "void"),
    path_option="weights",
)
SEGMENTERS.register(
    "pyramid",
    "anomseg.segmenters.pyramid:PyramidNet",
    "small trainable residual network with pyramid pooling, the bundled one's architecture",
    tags=("logits", "features", "trainable"),
)
SEGMENTERS.register(
    "erfnet_pyramid",
    "anomseg.segmenters.erfnet_pyramid:ERFNetPyramid",
    "ERFNet's encoder with pyramid pooling, bottleneck of 128 at stride 8",
    tags=("logits", "features", "trainable"),
)
SEGMENTERS.register(
    "pspnet",
    "anomseg.segmenters.pspnet:PSPNet",
    "PSPNet over a dilated ResNet, bottleneck of 512 at stride 8",
    tags=("logits", "features", "trainable"),
)
SEGMENTERS.register(
    "deeplabv3plus",
    "anomseg.segmenters.deeplab:DeepLabV3Plus",
    "DeepLabV3+ over a dilated ResNet, bottleneck of 512 at stride 8, decoder at stride 4",
    tags=("logits", "features", "trainable"),
)
SEGMENTERS.register(
    "ladder_densenet",
    "anomseg.segmenters.ladder_densenet:LadderDenseNet",
    "ladder DenseNet of training on noisy negatives: spatial pyramid, three steps up to stride 4",
    tags=("logits", "features", "trainable"),
)
SEGMENTERS.register(
    "student",
    "anomseg.segmenters.student:Student",
    "DiCNet's student: learns another network's feature map, stride 8, no classes",
    tags=("features", "trainable"),
)
SEGMENTERS.register(
    "image_classifier",
    "anomseg.segmenters.image_classifier:ImageClassifier",
    "small residual classifier of whole images; every pixel gets its image's class",
    tags=("logits", "features", "trainable"),
)
SEGMENTERS.register(
    "onnx",
    "anomseg.segmenters.onnx:OnnxSegmenter",
    "your own network that gives logits, run by ONNX Runtime: onnx:NETWORK.onnx",
    tags=("logits", "features", "void"),
    path_option="model",
)
SEGMENTERS.register(
    "hf",
    "anomseg.segmenters.huggingface.loading:load_transformers",
    "Hugging Face transformers, per-pixel and mask heads: hf:DIRECTORY or hf:HUB_ID",
    tags=("logits", "masks", "features", "negative"),
    path_option="model",
)
SEGMENTERS.register(
    "smp",
    "anomseg.segmenters.smp_network:SMPNetwork",
    "segmentation-models-pytorch: smp:WEIGHTS;arch=unet;encoder=resnet34, or smp:DIRECTORY of its save_pretrained",
    tags=("logits", "features", "void", "extra"),
    path_option="weights",
)
SEGMENTERS.register(
    "timm",
    "anomseg.segmenters.timm_backbone:TimmBackbone",
    "a backbone of timm, features without classes: timm:resnet50;weights=FILE",
    tags=("features", "extra"),
    path_option="model",
)
SEGMENTERS.register(
    "module",
    "anomseg.segmenters.module:ModuleSegmenter",
    "any nn.Module or callable that returns logits (from Python only)",
    tags=("logits", "python-only"),
)


def load_bundled(size: tuple[int, int] | None = None) -> Segmenter:
    """The segmenter that ships with the package.

    Args:
        size: Working size ``(height, width)`` other than its own.
    """
    return _shipped(BUNDLED, size)


def load_bundled_mask(size: tuple[int, int] | None = None) -> Segmenter:
    """The mask transformer that ships with the package, on the bundled segmenter's encoder.

    Args:
        size: Working size ``(height, width)`` other than its own.
    """
    return _shipped(BUNDLED_MASK, size)


def _shipped(folder: Path, size: tuple[int, int] | None) -> Segmenter:
    segmenter = load_saved_segmenter(folder, **({"size": size} if size else {}))
    segmenter.title = folder.name
    return segmenter


def load_segmenter(
    what: str | Path | Spec | Segmenter | nn.Module | Callable[[Tensor], Any], **options: Any
) -> Segmenter:
    """Load a segmenter from a name, a saved directory, or a network at hand.

    Args:
        what: ``"bundled"``, ``"erfnet:weights.safetensors"``, ``"name:key=value"``, a directory written by
            `save_segmenter`, or any module or callable that returns logits. A registered name goes before a
            directory of that name; write ``./name`` for the latter.
        **options: Further options of the segmenter.

    Returns:
        The segmenter, in evaluation mode.

    Raises:
        ConfigError: An unknown name or option, or options for a segmenter that is built already.
        DataError: A file is missing or damaged.
        CompatibilityError: The weights are of another network.

    Example:
        >>> load_segmenter("bundled").classes[3]
        'road'
    """
    if isinstance(what, Segmenter):
        if options:
            raise ConfigError(
                f"this {what.registry_name} segmenter is built already: {', '.join(options)} cannot be set"
            )
        return what
    if isinstance(what, str | Path | Spec):
        if not isinstance(what, Spec) and str(what) not in SEGMENTERS and Path(what).is_dir():
            if not is_segmenter_directory(what):
                hint = f"; for a transformers model write hf:{what}" if (Path(what) / "config.json").is_file() else ""
                raise ConfigError(f"{what} is a directory without segmenter.json; give one written by anomseg{hint}")
            return load_saved_segmenter(what, **options)
        spec = what if isinstance(what, Spec) else parse_spec(str(what))
        if spec.name not in SEGMENTERS and ("/" in spec.name or Path(spec.name).is_file()):
            raise _no_directory(str(what))
        if "python-only" in SEGMENTERS.get(spec.name).tags:
            raise ConfigError(f"{spec.name} wraps a network in Python; from the command line use a saved directory")
        merged = {**spec.options, **{key: _as_text(value) for key, value in options.items()}}
        return SEGMENTERS.create_from(Spec(spec.name, spec.path, merged)).eval()
    if _is_of_transformers(what):
        return SEGMENTERS.create("hf", model=what, **options)
    if callable(what):
        return SEGMENTERS.create("module", network=what, **options)
    raise ConfigError(f"{what!r} is no segmenter; give a name, a directory, a module or a callable")


def why_weightless(text: str) -> str | None:
    """Why a network named on the command line would have random weights; None where it has its own.

    Such a network scores happily, with nothing in its maps to show it.

    Args:
        text: A name with options, or a directory.

    Example:
        >>> why_weightless("bundled")
        >>> why_weightless("pyramid")
        "pyramid has no weights of its own; give a directory that 'anomseg train' wrote"
    """
    spec = parse_spec(text)
    if spec.name not in SEGMENTERS:
        return None
    entry = SEGMENTERS.get(spec.name)
    if entry.path_option and spec.path is None and not spec.options.get(entry.path_option):
        return f"{spec.name} needs a network: write {entry.summary.rpartition(': ')[2]}"
    if "trainable" in entry.tags:
        return f"{spec.name} has no weights of its own; give a directory that 'anomseg train' wrote"
    return None


def _no_directory(text: str) -> ConfigError:
    if Path(text).is_file():
        return ConfigError(f"{text} is a file; say what it is to be read as, such as onnx:{text} or erfnet:{text}")
    return ConfigError(f"there is no directory {text}; a model of the Hugging Face hub is written hf:{text}")


def _is_of_transformers(what: object) -> bool:
    if "transformers" not in sys.modules:
        return False
    from anomseg.segmenters.huggingface import is_transformers_object  # noqa: PLC0415 - only beside transformers

    return is_transformers_object(what)


def _as_text(value: Any) -> str:
    import json  # noqa: PLC0415 - only for options given in Python

    return value if isinstance(value, str) else json.dumps(value)
