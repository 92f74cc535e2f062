"""DNP: distance to the nearest in-distribution features, cell by cell (Galesso, Argus and Brox, ICCV-W 2023)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg.detectors.base import Progress
from anomseg.detectors.features import AUTO, FeatureDetector, feature_map, feature_names
from anomseg.detectors.fitting import FitLog
from anomseg.detectors.knn.bank import Balance, BankPass, bank_digest, chosen_frames, layer_scale
from anomseg.detectors.knn.resizing import cells_touched, nearest_at_size, spread_to
from anomseg.detectors.knn.search import NeighborIndex, build_index
from anomseg.detectors.options import one_of, whole
from anomseg.detectors.targets import LABELS, Labels
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Frame

Engine = Literal["exact", "ivf", "hnsw", "pq"]
Store = Literal["float32", "float16"]
Watch = Callable[[Frame, Scene], None]
PIECE = 8192
"""Rows of a bank looked at together."""


@dataclass(frozen=True)
class FittedBank:
    """What a pass over in-distribution frames gives.

    Attributes:
        state: The bank ``(M, D)``, and the scale ``(D,)`` where layers are scaled.
        record: What goes into ``fitted_on``.
        spread: Features of a second sample, of all valid cells, scaled.
    """

    state: dict[str, Tensor]
    record: dict[str, Any]
    spread: Tensor


class KNN(FeatureDetector):
    """Mean distance of each cell's feature to the k nearest rows of a bank of in-distribution features.

    The bank is a uniform sample of the valid cells of in-distribution frames: inside the image, not void, no anomaly.
    Nothing is trained, and the network's own answers stay what they are. Features enter as they are (not normalised
    or whitened), so test images must be prepared exactly as those of the bank were.

    Args:
        feature: Name of the feature map, or several joined by ``+``; ``"auto"`` is ``encoder`` or ``bottleneck`` where
            the network has one, else the last it names. The paper reads the keys of a vision transformer's last block,
            such as ``block11.key``.
        stride: Input pixels between cells; 0 keeps the feature's own, of several maps the coarsest.
        scaling: ``"layer"`` divides each layer by its spread over the bank, so that every layer counts alike.
        k: Neighbours.
        reduction: ``"mean"`` of the k distances, or ``"max"``, the distance to the k-th.
        rows: Cells in the bank; 0 keeps all there are, whatever memory that takes.
        images: Frames that the bank is drawn from, chosen uniformly; 0 uses all.
        balance: ``"class"`` draws as many cells of each class as of any other.
        labels: Where classes come from with ``balance=class``, see `ClassTargets`.
        engine: ``"exact"``, or approximate search by FAISS.
        store: Numbers of the bank, in memory and in the saved file.
        upsample: ``"nearest"``, as the published figures, or ``"bilinear"``.
        seed: Of the samples and of approximate search.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "knn"
    flags: ClassVar[Flags] = Flags(needs_fit=True)
    maps_state = True

    def __init__(
        self,
        feature: str = AUTO,
        stride: int = 0,
        scaling: Literal["none", "layer"] = "none",
        k: int = 3,
        reduction: Literal["mean", "max"] = "mean",
        rows: int = 100_000,
        images: int = 500,
        balance: Balance = "none",
        labels: Labels = "auto",
        engine: Engine = "exact",
        store: Store = "float32",
        upsample: Literal["nearest", "bilinear"] = "nearest",
        seed: int = 0,
    ) -> None:
        super().__init__(feature)
        self.stride = whole_or_none("stride", stride)
        self.scaling = one_of("scaling", scaling, ("none", "layer"))
        self.k = whole("k", k)
        self.reduction = one_of("reduction", reduction, ("mean", "max"))
        self.rows = whole_or_none("rows", rows)
        self.images = whole_or_none("images", images)
        self.balance = one_of("balance", balance, ("none", "class"))
        self.labels = one_of("labels", labels, LABELS)
        self.engine = one_of("engine", engine, ("exact", "ivf", "hnsw", "pq"))
        self.store = one_of("store", store, ("float32", "float16"))
        self.upsample = one_of("upsample", upsample, ("nearest", "bilinear"))
        self.seed = seed
        self._state: dict[str, Tensor] = {}
        self._indices: dict[torch.device, NeighborIndex] = {}

    @property
    def channels(self) -> int | None:
        """Channels of the bank; None before a fit."""
        return self._state["bank"].shape[1] if self._state else None

    @property
    def fit_reads_logits(self) -> bool:
        """Only to tell classes apart."""
        return self.balance == "class"

    def fit(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Draw the bank in one pass; see `Detector.fit`. Fewer valid cells than ``rows`` make a smaller bank.

        Raises:
            CompatibilityError: There is no network, or it lacks the feature.
            DataError: No frame could be used, or there are fewer than k valid cells.
        """
        fitted = self._draw(segmenter, frames, size, progress)
        self._adopt(fitted.state, fitted.record)
        return self

    def _draw(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        size: Size | None,
        progress: Progress | None,
        watch: Watch | None = None,
        spread: int = 0,
    ) -> FittedBank:
        """Go through the frames once.

        Args:
            segmenter: See `Detector.fit`.
            frames: See `Detector.fit`.
            size: See `Detector.fit`.
            progress: See `Detector.fit`.
            watch: Shown every frame whose features can be used.
            spread: Cells of a second sample.
        """
        segmenter, name = self.feature_to_fit(segmenter)
        names = feature_names(name)
        gathered = BankPass(
            segmenter, self.rows, self.balance, self.labels, self.seed, self.registry_name, spread=spread
        )

        def use(frame: Frame, scene: Scene) -> None:
            vectors, classes = gathered.read(frame, scene, feature_map(scene, name, self.stride))
            if watch is not None:
                watch(frame, scene)
            gathered.add(frame.id, vectors, classes)

        log = FitLog(self.registry_name)
        chosen = chosen_frames(frames, self.images, self.seed)
        log.run(segmenter, chosen, use, features=names, size=size, progress=progress)
        record = log.record(segmenter, feature=name, **gathered.record())
        bank = gathered.bank()
        if warning := self._check_count(len(bank), gathered.valid):
            record["warnings"] = [warning]
        state, spread_rows = {}, gathered.spread()
        if self.scaling == "layer":
            state["scale"] = layer_scale(bank, [segmenter.feature_info[one].channels for one in names])
            bank, spread_rows = bank.mul_(state["scale"]), spread_rows * state["scale"]
        state["bank"] = self._stored(bank)
        record["bank"] = {"rows": len(bank), "sha256": bank_digest(state["bank"], state.get("scale"))}
        return FittedBank(state, record, spread_rows)

    def _check_count(self, rows: int, valid: int) -> str | None:
        """Refuse a bank that cannot be searched; a warning where it is smaller than was asked."""
        if rows < self.k:
            seen = f"only {rows} valid cells, fewer than k={self.k}" if rows else "no valid cell"
            raise DataError(
                f"the frames to fit {self.registry_name} on have {seen}; give frames with in-distribution pixels"
            )
        if valid >= self.rows:
            return None
        return (
            f"the frames have {valid} valid cells, fewer than rows={self.rows}, so the bank holds {rows}; "
            "give more frames for a larger one"
        )

    def _stored(self, bank: Tensor) -> Tensor:
        if self.store == "float32":
            return bank
        half = bank.to(torch.float16)
        if not _finite(half):
            raise ConfigError(
                f"{self.registry_name}: features of up to {float(bank.abs().max()):.3g} do not fit into float16; "
                "fit with store=float32"
            )
        return half

    def _adopt(self, state: dict[str, Tensor], record: dict[str, Any]) -> None:
        self._state, self._indices, self.memory_mapped = state, {}, False
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = record

    def index(self, device: torch.device | str = "cpu") -> NeighborIndex:
        """The bank, ready to be searched on a device; built when first asked for."""
        self.require_fitted()
        device = torch.device(device)
        if device not in self._indices:
            bank = self._state["bank"]
            self._indices[device] = build_index(bank.to(device), engine=self.engine, seed=self.seed)
        return self._indices[device]

    def formula(self, features: Tensor) -> Tensor:
        """Distance ``(B, h, w)`` float32 of features ``(B, D, h, w)`` to the bank."""
        batch, channels, height, width = features.shape
        queries = features.permute(0, 2, 3, 1).reshape(-1, channels).to(torch.float32)
        if "scale" in self._state:
            queries = queries * self._state["scale"].to(queries.device)
        return self.reduce(self.index(features.device).distances(queries, self.k)).reshape(batch, height, width)

    def reduce(self, distances: Tensor) -> Tensor:
        """``(N,)`` of the distances ``(N, k)``, in ascending order, to the nearest."""
        return distances.mean(1) if self.reduction == "mean" else distances[:, -1]

    def distance(self, scene: Scene) -> Tensor:
        """Distance of each cell ``(B, h, w)``, over the padded input; searched once a scene for all that share a bank.

        Raises:
            FrameError: A feature is NaN or infinite.
        """
        return scene.remembered(self._identity(), lambda: self._search(scene))

    def _search(self, scene: Scene) -> Tensor:
        features = feature_map(scene, self.feature_name(scene.segmenter), self.stride)
        grid = (features.shape[-2], features.shape[-1])
        rows, columns = cells_touched(scene.output, grid)
        features = features[..., :rows, :columns]
        for name, usable in zip(scene.frame_ids, features.flatten(1).isfinite().all(1).tolist(), strict=True):
            if not usable:
                raise FrameError(f"{name}: the network's features hold values that are not finite")
        return spread_to(self.formula(features), grid)

    def _identity(self) -> Hashable:
        """What distances depend on besides the scene."""
        bank = (self.fitted_on or {}).get("bank")
        content = bank.get("sha256") if isinstance(bank, dict) else None
        search = (self.feature, (self.fitted_on or {}).get("feature"), self.stride, self.k, self.reduction, self.engine)
        return ("knn", content or id(self), *search, self.seed)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size: distances in units of the feature."""
        self.require_fitted()
        distance = self.distance(scene)
        if self.upsample == "nearest":
            return nearest_at_size(distance, scene.output, scene.image_size)
        return scene.resize(distance[:, None])[:, 0].contiguous()

    def card(self) -> dict[str, Any]:
        """See `Detector.card`; with the size of the bank, and whether it was left in its file."""
        if not self._state:
            return super().card()
        bank = self._state["bank"]
        told = {
            "rows": len(bank),
            "channels": bank.shape[1],
            "numbers": self.store,
            "bytes": bank.numel() * bank.element_size(),
            "memory_mapped": self.memory_mapped,
        }
        return {**super().card(), "bank": told}

    def state(self) -> dict[str, Tensor]:
        """The bank, and the scale of its channels where layers are scaled."""
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` returned; the bank is kept as it is given, so it may be mapped from a file.

        Raises:
            CompatibilityError: Tensors are missing, of shapes that do not fit, not finite, or fewer rows than k.
        """
        expected = sorted(("bank", "scale") if self.scaling == "layer" else ("bank",))
        self._check_state(state, expected)
        self._state, self._indices = dict(state), {}

    def _check_state(self, state: dict[str, Tensor], expected: list[str]) -> None:
        if sorted(state) != sorted(expected):
            raise CompatibilityError(
                f"the state of {self.registry_name} holds {', '.join(expected)}, got {sorted(state)}"
            )
        bank = state["bank"]
        if bank.ndim != 2 or not bank.shape[1] or bank.dtype != getattr(torch, self.store):
            raise CompatibilityError(
                f"the state of {self.registry_name} does not fit store={self.store}: its bank is "
                f"{tuple(bank.shape)} in {bank.dtype}, expected (rows, channels)"
            )
        if len(bank) < self.k:
            raise CompatibilityError(
                f"the state of {self.registry_name} has a bank of {len(bank)} rows, fewer than k={self.k}; fit it again"
            )
        if "scale" in state and state["scale"].shape != bank.shape[1:]:
            raise CompatibilityError(
                f"the state of {self.registry_name} has a bank of {bank.shape[1]} channels and a scale for "
                f"{tuple(state['scale'].shape)}; fit it again"
            )
        if not all(_finite(tensor) for tensor in state.values()):
            raise CompatibilityError(
                f"the state of {self.registry_name} holds values that are not finite; fit it again"
            )

    def __getstate__(self) -> dict[str, Any]:
        # An index belongs to the very bank it was built on, and a copied bank lies in memory.
        return {**self.__dict__, "_indices": {}, "memory_mapped": False}


def whole_or_none(name: str, value: int) -> int:
    """Return ``value`` if it is a whole number, 0 or above.

    Raises:
        ConfigError: It is not.

    Example:
        >>> whole_or_none("rows", 0)
        0
    """
    return 0 if value == 0 and not isinstance(value, bool) else whole(name, value)


def _finite(tensor: Tensor) -> bool:
    """Whether all values are finite, looked at piece by piece: a mapped bank may be larger than the memory."""
    pieces = tensor.split(PIECE) if tensor.ndim else (tensor,)
    return all(bool(part.isfinite().all()) for part in pieces)
