"""Everything that decides a benchmark figure besides the scores, as one frozen object that is printed with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from anomseg.errors import ConfigError
from anomseg.metrics import ApRule, FprRule, Storage
from anomseg.types import VOID

_STORAGE_TEXT: dict[Storage, str] = {"float32": "float32", "smiyc": "float16 in percentile bins of each image"}
_FPR_TEXT: dict[FprRule, str] = {
    "first>=": "the first threshold with a true positive rate of .95 or more",
    "first>": "the first threshold with a true positive rate above .95",
    "nearest": "the threshold whose true positive rate is nearest to .95",
}


@dataclass(frozen=True)
class Protocol:
    """How scores and labels become figures.

    Attributes:
        name: ``default``, or the community whose habit it is.
        version: Raised whenever figures under the same name would change.
        label_table: Name and values of the table that made {0, 1, 255} of the stored labels.
        void: Label values that are left out; without 255 among them void pixels count as inliers.
        roi: The region that counts, in words.
        split: The part of the data set.
        resize: ``(height, width)`` that images are stretched to before the network; None leaves it to the segmenter.
        clean_images: What becomes of images without an anomaly: ``keep`` or ``drop``.
        aggregation: ``pooled`` over all pixels, or ``per_image``: figures an image, then their mean.
        fpr_rule: Which threshold the false positive rate at 95 % true positives is taken at: ``first>=``, ``first>``
            or ``nearest``.
        ap_rule: ``step``: the sum of recall steps times precision, as scikit-learn's average precision; or
            ``trapezoid``.
        min_prediction: Predicted components of fewer pixels are dropped; None without component figures.
        min_anomaly: Anomalies of fewer pixels become void; None without component figures.
        threshold_source: Where the threshold of published figures comes from: ``best_f1``, the pooled curve's own best
            and so an oracle; ``other_half``, 95 % recall on the other half of the frames; ``none``, where no figure
            needs one. Component figures, where there are any, are at ``best_f1`` in any case.
        score_storage: How scores are stored before they are compared: ``float32``, or ``smiyc``, float16 and percentile
            bins of each frame.
    """

    name: str
    split: str
    label_table: str
    version: int = 1
    void: tuple[int, ...] = (255,)
    roi: str = "all pixels that are not void"
    resize: tuple[int, int] | None = None
    clean_images: Literal["keep", "drop"] = "keep"
    aggregation: Literal["pooled", "per_image"] = "pooled"
    fpr_rule: FprRule = "first>="
    ap_rule: ApRule = "step"
    min_prediction: int | None = None
    min_anomaly: int | None = None
    threshold_source: Literal["best_f1", "other_half", "none"] = "best_f1"
    score_storage: Storage = "float32"

    def __post_init__(self) -> None:
        if (self.min_prediction is None) != (self.min_anomaly is None):
            raise ConfigError(f"protocol {self.name}: give both component sizes (min_prediction, min_anomaly) or none")

    @property
    def void_counts(self) -> bool:
        """Whether void pixels count, as inliers."""
        return VOID not in self.void

    @property
    def components(self) -> bool:
        """Whether component figures belong to it."""
        return self.min_prediction is not None

    def as_dict(self) -> dict[str, Any]:
        """Its fields, ready for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def describe(self) -> str:
        """One paragraph for result cards and reports."""
        pooled = self.aggregation == "pooled"
        size = (
            f"stretched to {self.resize[1]}x{self.resize[0]}" if self.resize else "at the segmenter's own working size"
        )
        left_out = "void pixels counted as inliers" if self.void_counts else f"values {self._void_text()} left out"
        parts = [
            f"Protocol {self.name} (version {self.version}) on split {self.split}",
            f"labels by the table {self.label_table}, {left_out}, {self.roi}",
            f"images {size}, scores upsampled to label size and compared as {_STORAGE_TEXT[self.score_storage]}",
            "figures pooled over all pixels" if pooled else "figures for each image, then their mean",
            f"images without an anomaly are {'kept' if self.clean_images == 'keep' else 'dropped'}",
            "average precision by recall steps" if self.ap_rule == "step" else "area under PR by the trapezoid rule",
            f"FPR95 at {_FPR_TEXT[self.fpr_rule]}",
        ]
        if self.components:
            parts.append(
                f"components of at least {self.min_prediction} predicted and {self.min_anomaly} anomalous pixels, "
                "at the threshold of the pooled curve's best F1 (an oracle)"
            )
        if self.threshold_source == "other_half":
            parts.append("thresholds of open-set figures by 95 % recall on the other half of the frames")
        return "; ".join(parts) + "."

    def _void_text(self) -> str:
        return ", ".join(map(str, self.void))


def own(protocol: Protocol) -> Protocol:
    """The benchmark's own protocol, unchanged."""
    return protocol


def smiyc(protocol: Protocol) -> Protocol:
    """SegmentMeIfYouCan: pooled from float16 percentile bins, components at best F1 (Chan et al. 2021)."""
    return replace(
        protocol,
        name="smiyc",
        clean_images="keep",
        aggregation="pooled",
        fpr_rule="first>=",
        threshold_source="best_f1",
        score_storage="smiyc",
    )


def fishyscapes(protocol: Protocol) -> Protocol:
    """Fishyscapes: pooled over all images, clean ones too, FPR at the first rate of .95 or more (Blum et al. 2021)."""
    return replace(
        protocol,
        name="fishyscapes",
        clean_images="keep",
        aggregation="pooled",
        fpr_rule="first>=",
        threshold_source="none",
    )


def caos(protocol: Protocol) -> Protocol:
    """CAOS: a mean over images, clean ones dropped, all pixels, FPR at the nearest rate (Hendrycks et al. 2022)."""
    return replace(
        protocol,
        name="caos",
        version=2,
        void=(),
        clean_images="drop",
        aggregation="per_image",
        fpr_rule="nearest",
        threshold_source="none",
    )


def densehybrid(protocol: Protocol) -> Protocol:
    """DenseHybrid: pooled, FPR at the first rate above .95 (Grcić et al. 2022)."""
    return replace(
        protocol,
        name="densehybrid",
        clean_images="keep",
        aggregation="pooled",
        fpr_rule="first>",
        threshold_source="other_half",
    )


def pebal(protocol: Protocol) -> Protocol:
    """PEBAL: pooled over all images, FPR at the nearest rate (Tian et al. 2022)."""
    return replace(
        protocol,
        name="pebal",
        clean_images="keep",
        aggregation="pooled",
        fpr_rule="nearest",
        threshold_source="none",
    )
