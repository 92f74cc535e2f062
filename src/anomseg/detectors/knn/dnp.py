"""DNP: distance to the nearest in-distribution features, cell by cell (Galesso, Argus and Brox, ICCV-W 2023)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from anomseg.detectors.base import Progress
from anomseg.detectors.features import AUTO, FeatureDetector, feature_map
from anomseg.detectors.knn.bank import Balance
from anomseg.detectors.knn.drawing import BankRecipe, DrawnBank, Watch, draw_bank
from anomseg.detectors.knn.engine import parse_engine_options
from anomseg.detectors.knn.resizing import cells_touched, nearest_at_size, spread_to
from anomseg.detectors.knn.search import NeighborIndex, build_index
from anomseg.detectors.knn.stored import check_state
from anomseg.detectors.options import one_of, whole, whole_or_zero
from anomseg.detectors.targets import LABELS, Labels
from anomseg.errors import ConfigError, FrameError
from anomseg.scores.neighbors import reduce_distances
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Frame

Engine = Literal["exact", "ivf", "hnsw", "pq"]
Store = Literal["float32", "float16"]
Compress = Literal["none", "kmeans", "coreset"]


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
        compress: ``"kmeans"`` or ``"coreset"`` makes the bank smaller; what that costs is measured and recorded.
        compressed_rows: Rows that are left then.
        engine: ``"exact"``, or approximate search by FAISS (the extra ``faiss``): ``"ivf"``, ``"hnsw"``, ``"pq"``.
        engine_options: Of that engine, such as ``nprobe:8+nlist:400``.
        store: Numbers of the bank, in memory and in the saved file.
        upsample: ``"nearest"``, as the published figures, or ``"bilinear"``.
        seed: Of the samples and of approximate search.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "knn"
    flags: ClassVar[Flags] = Flags(needs_fit=True)
    maps_state = True
    more_state: ClassVar[tuple[str, ...]] = ()
    """Names of tensors in the state of a subclass, besides the bank's."""

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
        compress: Compress = "none",
        compressed_rows: int = 10_000,
        engine: Engine = "exact",
        engine_options: str = "",
        store: Store = "float32",
        upsample: Literal["nearest", "bilinear"] = "nearest",
        seed: int = 0,
    ) -> None:
        super().__init__(feature)
        self.stride = whole_or_zero("stride", stride)
        self.scaling = one_of("scaling", scaling, ("none", "layer"))
        self.k = whole("k", k)
        self.reduction = one_of("reduction", reduction, ("mean", "max"))
        self.rows = whole_or_zero("rows", rows)
        self.images = whole_or_zero("images", images)
        self.balance = one_of("balance", balance, ("none", "class"))
        self.labels = one_of("labels", labels, LABELS)
        self.compress = one_of("compress", compress, ("none", "kmeans", "coreset"))
        self.compressed_rows = whole("compressed_rows", compressed_rows)
        self.engine = one_of("engine", engine, ("exact", "ivf", "hnsw", "pq"))
        self._engine_options = parse_engine_options(self.engine, engine_options)
        self.engine_options = engine_options
        self.store = one_of("store", store, ("float32", "float16"))
        self.upsample = one_of("upsample", upsample, ("nearest", "bilinear"))
        self.seed = seed
        smallest = min(self.rows or self.k, self.compressed_rows if compress != "none" else self.k)
        if smallest < self.k:
            raise ConfigError(f"k={self.k} neighbours of a bank of {smallest} rows; give a smaller k or more rows")
        if self.compress != "none" and 0 < self.rows < self.compressed_rows:
            raise ConfigError(
                f"a bank of rows={self.rows} cannot be compressed to compressed_rows={self.compressed_rows}; "
                "ask for fewer"
            )
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
        drawn = self._draw(segmenter, frames, size, progress)
        self._adopt(drawn.state, drawn.record)
        return self

    def _draw(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        size: Size | None,
        progress: Progress | None,
        watch: Watch | None = None,
        spread: int = 0,
    ) -> DrawnBank:
        """See `draw_bank`."""
        segmenter, feature = self.feature_to_fit(segmenter)
        recipe = BankRecipe(**{name: getattr(self, name) for name in BankRecipe.__dataclass_fields__})
        given: dict[str, Any] = {"size": size, "progress": progress, "watch": watch, "spread": spread}
        return draw_bank(recipe, self.registry_name, segmenter, feature, frames, **given)

    def _adopt(self, state: dict[str, Tensor], record: dict[str, Any]) -> None:
        index = self._indexed(state["bank"])  # before anything changes: it may refuse
        self._state, self._indices, self.memory_mapped = state, {torch.device("cpu"): index}, False
        self.segmenter_identity = record["segmenter"]
        self.fitted_on = record

    def index(self, device: torch.device | str = "cpu") -> NeighborIndex:
        """The bank, ready to be searched on a device; built when first asked for."""
        self.require_fitted()
        device = self._searched_on(torch.device(device))
        if device not in self._indices:
            self._indices[device] = self._indexed(self._state["bank"].to(device))
        return self._indices[device]

    def _searched_on(self, device: torch.device) -> torch.device:
        return device if self.engine == "exact" else torch.device("cpu")  # FAISS searches there

    def _indexed(self, bank: Tensor) -> NeighborIndex:
        return build_index(bank, self.engine, self.seed, **self._engine_options)

    def formula(self, features: Tensor) -> Tensor:
        """Distance ``(B, h, w)`` float32 of features ``(B, D, h, w)`` to the bank."""
        batch, channels, height, width = features.shape
        queries = features.permute(0, 2, 3, 1).reshape(-1, channels).to(torch.float32)
        if "scale" in self._state:
            queries = queries * self._state["scale"].to(queries.device)
        queries = queries.to(self._searched_on(features.device))
        score = reduce_distances(self.index(queries.device).distances(queries, self.k), self.reduction)
        return score.to(features.device).reshape(batch, height, width)

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
        feature = (self.feature, (self.fitted_on or {}).get("feature"), self.stride)
        search = (self.k, self.reduction, self.engine, self.engine_options, self.seed)
        return ("knn", content or id(self), *feature, *search)

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
        names = (*self._bank_names(), *self.more_state)
        check_state(self.registry_name, state, names, self.store, self.k)
        self._state, self._indices = dict(state), {}

    def _bank_names(self) -> tuple[str, ...]:
        return ("bank", "scale") if self.scaling == "layer" else ("bank",)

    def __getstate__(self) -> dict[str, Any]:
        # An index belongs to the very bank it was built on, and a copied bank lies in memory.
        return {**self.__dict__, "_indices": {}, "memory_mapped": False}
