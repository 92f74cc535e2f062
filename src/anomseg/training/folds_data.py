"""The data of a stage without the frames of one fold."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from anomseg.errors import ConfigError
from anomseg.training.data_of_stage import StageData
from anomseg.training.labelled import FrameStore
from anomseg.types import UInt8Array


class FrameSubset(FrameStore):
    """Some frames of a store, which decodes them and keeps what is decoded.

    Args:
        store: All frames.
        numbers: Those that are here, in order.
    """

    def __init__(self, store: FrameStore, numbers: Sequence[int]) -> None:
        super().__init__([store.frames[number] for number in numbers], 0)
        self.store, self.numbers = store, tuple(numbers)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        return self.store[self.numbers[index]]


class FoldData(StageData):
    """What a stage trains on, cut down to some frames of its one source: crops, class frequencies and record.

    Args:
        whole: The data of the stage, bound to the results of earlier stages.
        learned: Numbers of the frames that may be trained on.

    Raises:
        ConfigError: No cached crop shows any of them.
    """

    def __init__(self, whole: StageData, learned: Sequence[int]) -> None:
        vars(self).update(vars(whole))
        allowed = set(learned)
        self._chosen: list[int] | None = None
        if whole.cached:
            place = whole.labelled.crops().place
            self._chosen = [number for number in range(whole.cached_crops) if place(number)[1] in allowed]
            if not self._chosen:
                raise ConfigError(f"{whole.stage}: no cached crop shows a frame that this fold may learn; make more")
        self.labelled = copy.copy(whole.labelled)
        source, validation = whole.labelled.stores
        self.labelled._stores = [FrameSubset(source, learned), validation]

    def crops(self, chosen: Sequence[int] | None = None) -> Dataset[dict[str, Tensor]]:
        """Training samples of the allowed frames; see `StageData.crops`."""
        return super().crops(self._chosen if chosen is None else chosen)

    def row_weights(self, balance: bool) -> Tensor:
        """As `StageData.row_weights`, with the frequencies of the allowed frames alone."""
        known = self.labelled.frequencies() if balance else None
        return super().row_weights(balance) if known is None else self.table.balance(known)

    def record(self) -> dict[str, Any]:
        """What was read, the allowed frames counted."""
        return self.labelled.record()
