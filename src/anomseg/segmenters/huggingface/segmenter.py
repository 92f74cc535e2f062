"""Segmentation networks of Hugging Face transformers behind the segmenter contract."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from anomseg.data.label_space import label_space
from anomseg.errors import ConfigError, unknown_name
from anomseg.scores import mask_semantic
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.derived import derived_logits
from anomseg.segmenters.huggingface.building import complete_architecture, family_of_network
from anomseg.segmenters.huggingface.families import input_divisor
from anomseg.segmenters.huggingface.preprocessing import Preprocessing
from anomseg.segmenters.huggingface.taps import transformer_taps
from anomseg.segmenters.huggingface.task import pad_tokens, semantic_tokens
from anomseg.segmenters.naming import require_several
from anomseg.segmenters.taps import Taps
from anomseg.types import FeatureInfo

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersSegmenter(Segmenter):
    """A network of transformers with a per-pixel or a mask head.

    Images are resized with their aspect kept, to the size that the network's files name, and padded to what its
    architecture asks for; ``size`` overrides that. EoMT, which reads squares of one size, gets the whole image inside
    one. Nothing of the library's own processing of images or outputs is used.

    Mask heads give ``mask_logits`` and ``class_logits`` as the library does, the no-object column kept last, and
    ``logits = log(mask_semantic(...))``, at least log 1e-8.

    Args:
        network: A segmentation network of transformers with its weights.
        preprocessing: What its pixels are to be; ImageNet's or the family's mean and deviation when not given.
        classes: Class names, or the name of a label space; those in the network's configuration when not given.
        palette: One RGB triple a class; Cityscapes' own for its nineteen classes.
        size: Working size ``(height, width)`` that images are stretched to, instead of the rule above.
        negative: Class that stands for negatives: its column leaves the classes for `negative_class_logits`.
        task_tokens: What OneFormer is told its task by; "the task is semantic" in CLIP's vocabulary when not given.
        random_weights: The network was built with random weights; cards say so.

    Raises:
        CompatibilityError: The network is of no known kind, or its head for each pixel has one class alone.
        ConfigError: An option does not fit the network.
    """

    registry_name: ClassVar[str] = "hf"

    def __init__(
        self,
        network: PreTrainedModel,
        preprocessing: Preprocessing | None = None,
        classes: Sequence[str] | str | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = None,
        negative: str | None = None,
        task_tokens: Sequence[int] | None = None,
        random_weights: bool = False,
    ) -> None:
        self.family = family_of_network(network)
        architecture = complete_architecture(json.loads(network.config.to_json_string(use_diff=False)), "the network")
        columns, colours = _columns(network, classes, palette)
        if negative is not None:
            if not self.family.masks:
                raise ConfigError(f"negative is for mask heads; a {self.family.model_type} has none")
            if negative not in columns:
                raise unknown_name("class", negative, columns)
        if not self.family.masks:
            require_several(columns)
        kept = [index for index, name in enumerate(columns) if name != negative]
        super().__init__(
            [columns[index] for index in kept],
            [colours[index] for index in kept] if colours else None,
            size,
            input_divisor(architecture, self.family),
        )
        self.least = self.family.least
        self.network = network.eval()
        self.architecture = architecture
        self.preprocessing = _fitted(
            preprocessing or Preprocessing(*self.family.moments), self.family.fixed, self.divisor
        )
        self.columns, self.negative, self.random_weights = columns, negative, random_weights
        self._kept = kept
        self.task_tokens: tuple[int, ...] | None = None
        if self.family.model_type == "oneformer":
            length = int(architecture["task_seq_len"])
            self.task_tokens = pad_tokens(task_tokens, length) if task_tokens else semantic_tokens(None, length)
        self.eval()

    @cached_property
    def _taps(self) -> Taps:
        # When first asked for: some maps are measured by a small pass.
        return transformer_taps(self.network)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Stages, the decoder's map and the insides of transformer blocks; see `transformer_taps`."""
        return self._taps.info

    @property
    def provides(self) -> frozenset[str]:
        """Also ``masks`` of a mask head, and ``negative`` where a class is named so."""
        found = {"masks"} if self.family.masks else set()
        return super().provides | found | ({"negative"} if self.negative else set())

    def working_size(self, image_size: Size, size: Size | None = None) -> Size:
        """``(height, width)`` an image of ``image_size`` is resized to, before padding.

        Raises:
            ConfigError: A network that reads squares of one size is given a larger one.
        """
        chosen = size or self.size or self.preprocessing.size(image_size)
        if self.family.fixed and max(chosen) > self.divisor:
            raise ConfigError(
                f"this {self.family.model_type} reads squares of {self.divisor} pixels, so size "
                f"{chosen[0]}x{chosen[1]} does not fit; leave it out, or cut the image into tiles of that side"
            )
        return chosen

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the network; see `Segmenter.forward`."""
        height, width = batch.shape[-2:]
        inputs: dict[str, Any] = {"pixel_values": self.preprocessing.apply(batch)}
        if self.task_tokens is not None:
            inputs["task_inputs"] = batch.new_tensor(self.task_tokens).expand(len(batch), -1)
        with self._taps.recording(features) as found, self._grid_told(height // self.divisor, width // self.divisor):
            answer = self.network(**inputs)
        if not self.family.masks:
            return SegmentationOutput(answer.logits, (height, width), (height, width), found)
        output = self._from_masks(answer.class_queries_logits, answer.masks_queries_logits, (height, width))
        return replace(output, features=found)

    def _from_masks(self, class_logits: Tensor, mask_logits: Tensor, size: Size) -> SegmentationOutput:
        claims = mask_semantic(class_logits, mask_logits)
        negative = None
        if self.negative is not None:
            # The claim of the negative class is dropped after the softmax, so that no other class inherits it.
            column = self.columns.index(self.negative)
            claims, negative = claims[:, self._kept], class_logits[..., column : column + 1]
            class_logits = class_logits[..., [*self._kept, class_logits.shape[-1] - 1]]
        return SegmentationOutput(
            logits=derived_logits(claims),
            padded_size=size,
            input_size=size,
            mask_logits=mask_logits,
            class_logits=class_logits,
            negative_class_logits=negative,
            derived=True,
        )

    @contextmanager
    def _grid_told(self, rows: int, columns: int) -> Iterator[None]:
        # DPT's head for classes, unlike the one for depth, does not tell its neck the shape of the grid of patches,
        # and the neck then takes it for a square. Only for this pass: the network may be its owner's.
        if self.family.model_type != "dpt":
            yield
            return

        def tell(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**kwargs, "patch_height": rows, "patch_width": columns}

        handle = self.network.get_submodule("neck").register_forward_pre_hook(tell, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        facts = self.preprocessing
        return {
            **super().config(),
            "architecture": self.architecture,
            "classes": list(self.columns),
            "palette": [list(colour) for colour in self._all_colours()],
            "mean": list(facts.mean),
            "std": list(facts.std),
            "scale": facts.scale,
            "bgr": facts.bgr,
            "shortest_edge": facts.shortest_edge or 0,
            "longest_edge": facts.longest_edge or 0,
            "negative": self.negative,
            "task_tokens": list(self.task_tokens) if self.task_tokens else None,
            "random_weights": self.random_weights,
        }

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: also its architecture and how its input is made."""
        told = {key: value for key, value in self.config().items() if key not in ("architecture", "classes", "palette")}
        backbone = self.architecture.get("backbone_config") or {}
        return {
            **told,
            **super().identity(),
            "network": self.family.network,
            "backbone": backbone.get("model_type"),
            "divisor": self.divisor,
        }

    def _all_colours(self) -> list[tuple[int, ...]]:
        colours = list(self.palette)
        if self.negative is not None:
            colours.insert(self.columns.index(self.negative), (255, 255, 255))
        return colours


def _fitted(facts: Preprocessing, fixed: bool, side: int) -> Preprocessing:
    # The whole image goes into the one square there is, as large as it can be.
    return replace(facts, shortest_edge=side, longest_edge=side) if fixed else facts


def _columns(
    network: PreTrainedModel, classes: Sequence[str] | str | None, palette: Sequence[Sequence[int]] | None
) -> tuple[tuple[str, ...], Sequence[Sequence[int]] | None]:
    named: dict[Any, str] = dict(network.config.id2label or {})
    count = len(named)
    if isinstance(classes, str):
        classes = label_space(classes).names
    if classes is None:
        classes = [str(named.get(index, f"class_{index}")) for index in range(count)]
    if len(classes) != count:
        raise ConfigError(f"the network has {count} classes, and {len(classes)} names are given")
    names = _unique(classes)
    cityscapes = label_space("cityscapes")
    if palette is None and set(names) == set(cityscapes.names):
        palette = [cityscapes.palette[cityscapes.names.index(name)] for name in names]
    if palette is not None and len(palette) != count:
        raise ConfigError(f"the network has {count} classes, and {len(palette)} colours are given")
    return names, palette


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    # Some label sets use a name twice (ADE20K's 150 have two "screen"), and classes are told apart by name here.
    found: list[str] = []
    for name in names:
        same = sum(other == name or other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({same + 1})" if name in found else name)
    return tuple(found)
