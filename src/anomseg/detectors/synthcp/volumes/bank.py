"""Prepared cases for training: packed small, kept as far as memory is given, the same whether kept or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.data.volumes import Case
from anomseg.detectors.synthcp.generator import SPADEGenerator
from anomseg.detectors.synthcp.volumes.comparing import Against, comparator_batch, render
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting, prepare
from anomseg.detectors.synthcp.volumes.slices import soft_dice
from anomseg.errors import DataError, FrameError

_RELEVANT = 0.75
"""Share of the runs of slices that lie at a target; the others lie anywhere."""


@dataclass(frozen=True)
class _Packed:
    case: PreparedCase
    rendering: Tensor | None

    @property
    def bytes(self) -> int:
        parts = (self.case.image, self.case.layout, self.case.truth, self.rendering)
        return sum(part.nelement() * part.element_size() for part in parts if part is not None)


class CaseBank:
    """Cases on the grid, each prepared once where there is room.

    Args:
        cases: The cases; those that cannot be used are left out, and `skipped` says why.
        setting: Classes, targets and grid.
        judged: Which mask is looked at, see `prepare`.
        memory: Megabytes to keep.
        generator: Renders the masks, where renderings are needed.

    Raises:
        DataError: No case is left.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        setting: VolumeSetting,
        *,
        judged: str = "prediction",
        memory: int = 1024,
        generator: SPADEGenerator | None = None,
    ) -> None:
        self.setting, self.judged, self.generator = setting, judged, generator
        self.skipped: dict[str, str] = {}
        self.cases: list[Case] = []
        self._kept: dict[int, _Packed] = {}
        left = memory * 1_000_000
        for case in cases:
            try:
                packed = self._pack(case)
            except FrameError as error:
                self.skipped[case.id] = str(error)
                continue
            if packed.bytes <= left:
                self._kept[len(self.cases)] = packed
                left -= packed.bytes
            self.cases.append(case)
        if not self.cases:
            first = next(iter(self.skipped.values()), "there are none")
            raise DataError(f"none of {len(cases)} cases can be used; the first because: {first}")

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[PreparedCase, Tensor | None]:
        """A case, and the rendering of its mask ``(D, H, W)`` where there is a generator."""
        packed = self._kept.get(index) or self._pack(self.cases[index])
        case = packed.case
        whole = replace(
            case,
            image=case.image.float(),
            layout=case.layout.float() / 255,
            truth=None if case.truth is None else case.truth.float() / 255,
        )
        return whole, None if packed.rendering is None else packed.rendering.float()

    def _pack(self, case: Case) -> _Packed:
        found = prepare(case, self.setting, judged=self.judged)
        if found.truth is None:
            raise FrameError(f"{case.id} has no true mask to learn from")
        rendering = None
        if self.generator is not None:
            with torch.no_grad():
                rendering = render(self.generator, found.layout).half()
        shares = [part.mul(255).round().byte() for part in (found.layout, found.truth)]
        return _Packed(replace(found, image=found.image.half(), layout=shares[0], truth=shares[1]), rendering)


class _Stream(Dataset[dict[str, Tensor]]):
    """Numbered samples of a bank: every case once a round, in an order of the round's own."""

    def __init__(self, bank: CaseBank, seed: int) -> None:
        self.bank, self.seed = bank, seed
        self._round = (-1, np.zeros(0, np.int64))

    def case_of(self, number: int) -> int:
        """Which case a sample is of."""
        turn, place = divmod(number, len(self.bank))
        if self._round[0] != turn:
            self._round = (turn, np.random.default_rng([self.seed, 0, turn]).permutation(len(self.bank)))
        return int(self._round[1][place])

    def rng(self, number: int) -> np.random.Generator:
        """Whatever else is drawn for a sample."""
        return np.random.default_rng([self.seed, 1, number])


class LayoutSlices(_Stream):
    """Layouts of true masks and their CT: slices, or volumes in three dimensions.

    Args:
        bank: With true masks.
        dims: 2 or 3.
        seed: Of the order and of which slice.
    """

    def __init__(self, bank: CaseBank, dims: int, seed: int) -> None:
        super().__init__(bank, seed)
        self.dims = dims

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """``classes`` ``(*S)`` int64 and ``image`` ``(1, *S)`` in [-1, 1]."""
        case, _ = self.bank[self.case_of(number)]
        classes = case.layout.argmax(0)
        if self.dims == 3:
            return {"classes": classes, "image": case.image[None]}
        row = _place(self.rng(number), classes > 0)
        return {"classes": classes[row], "image": case.image[row][None]}


class LayoutMiddles(Dataset[dict[str, Tensor]]):
    """The same of every case once: in two dimensions the slice with the largest part of a mask."""

    def __init__(self, bank: CaseBank, dims: int) -> None:
        self.bank, self.dims = bank, dims

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """As `LayoutSlices`."""
        case, _ = self.bank[index]
        classes = case.layout.argmax(0)
        if self.dims == 3:
            return {"classes": classes, "image": case.image[None]}
        row = int((classes > 0).sum((1, 2)).argmax())
        return {"classes": classes[row], "image": case.image[row][None]}


class JudgedRuns(_Stream):
    """Runs of slices with their Dice, or volumes in three dimensions; half of them mirrored along rows and columns.

    Args:
        bank: With predicted masks, and renderings where they are compared with.
        dims: 2 or 3.
        reach: See `comparator_batch`.
        against: See `comparator_batch`.
        slices: In a run.
        seed: Of the order and of which slices.
    """

    def __init__(self, bank: CaseBank, dims: int, reach: int, against: Against, slices: int, seed: int) -> None:
        super().__init__(bank, seed)
        self.dims, self.reach, self.against = dims, reach, against
        self.slices = min(slices, bank.setting.grid.size[0])

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """What the comparator reads, ``dice`` ``(N, T)``, NaN without one, and ``right`` ``(N, *S)`` in [0, 1]."""
        case, rendering = self.bank[self.case_of(number)]
        assert case.truth is not None  # noqa: S101 - a bank has no others
        layout, image, other = comparator_batch(case.image, case.layout, rendering, self.dims, self.reach, self.against)
        wanted = self.bank.setting.indices
        predicted, true = case.layout[wanted], case.truth[wanted]
        right = 1 - (predicted - true).abs().amax(0)
        rng = self.rng(number)
        mirrored = [axis for axis in (-2, -1) if rng.random() < 0.5]
        if self.dims == 3:
            dice = case.dice.masked_fill(case.empty, torch.nan)[None]
            found = {"layout": layout, "image": image, "dice": dice, "right": right[None]}
            return _mirrored(found if other is None else {**found, "rendering": other}, mirrored)
        dice = soft_dice(predicted, true).masked_fill(predicted.sum((-2, -1)) == 0, torch.nan).T
        middle = _place(rng, (predicted + true).amax(0) > 0)
        start = min(max(middle - self.slices // 2, 0), len(layout) - self.slices)
        run = slice(start, start + self.slices)
        found = {"layout": layout[run], "image": image[run], "dice": dice[run], "right": right[run]}
        return _mirrored(found if other is None else {**found, "rendering": other[run]}, mirrored)


class JudgedCases(Dataset[dict[str, Tensor]]):
    """Every case once, whole."""

    def __init__(self, bank: CaseBank) -> None:
        self.bank = bank

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``image``, ``layout``, ``dice``, ``empty``, and ``rendering`` where there is one."""
        case, rendering = self.bank[index]
        found = {"image": case.image, "layout": case.layout, "dice": case.dice, "empty": case.empty}
        return found if rendering is None else {**found, "rendering": rendering}


def _mirrored(sample: dict[str, Tensor], axes: Sequence[int]) -> dict[str, Tensor]:
    """A sample turned over along rows or columns: whether a mask fits its CT does not depend on it."""
    return {name: part if name == "dice" or not axes else part.flip(list(axes)) for name, part in sample.items()}


def _place(rng: np.random.Generator, hit: Tensor) -> int:
    """A slice, mostly one in which something is; ``hit`` is ``(D, H, W)`` bool."""
    rows = hit.flatten(1).any(1).nonzero()[:, 0]
    anywhere = bool(rng.random() >= _RELEVANT) or not len(rows)
    return int(rng.integers(len(hit))) if anywhere else int(rows[int(rng.integers(len(rows)))])
