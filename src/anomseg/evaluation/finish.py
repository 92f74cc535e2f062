"""The end of a run, whole or merged: component pass, figures, cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomseg.errors import DataError
from anomseg.evaluation.cards import anomaly_card, compare_to_controls, segmentation_card, write_card
from anomseg.evaluation.components import LabelReader, MapReader, score_components
from anomseg.evaluation.failure.card import finish_failures
from anomseg.evaluation.failure.state import FailureState
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.run_folder import identity_of
from anomseg.evaluation.segmentation import FOLDER as SEGMENTATION_FOLDER
from anomseg.evaluation.segmentation import SegmentationState
from anomseg.evaluation.states import DetectorState


@dataclass(frozen=True)
class Outcome:
    """All that a run found.

    Attributes:
        out: Folder of results.
        content: The run's description, as ``run.json`` has it.
        states: States by folder.
        segmentation: Closed-set state, if any.
        failures: States by folder of a run of failure detection.
        shards: How many shards the frames were evaluated in.
    """

    out: Path
    content: Mapping[str, Any]
    states: Mapping[str, DetectorState]
    segmentation: SegmentationState | None
    failures: Mapping[str, FailureState] = field(default_factory=dict)
    shards: int = 1

    def finish(
        self, read_map: MapReader, read_label: LabelReader, on_progress: Progress = silent
    ) -> list[dict[str, Any]]:
        """Run the component pass where the protocol has one and write all cards.

        Args:
            read_map: Where the maps of the first pass are.
            read_label: Where its labels are.
            on_progress: Called after each frame of the component pass.

        Returns:
            The cards, in the order of the detectors; the network's alone where there are none.

        Raises:
            DataError: No frame could be evaluated, there is no anomaly in any, or a file cannot be written.
        """
        order = list(self.content["frames"])
        header = {
            **self.content,
            "identity": identity_of(self.content),
            "shards": self.shards,
            "segmentation": self.segmentation.card() if self.segmentation else None,
            "frame_order": order,
        }
        if self.failures:
            return finish_failures(self.out, header, self.failures, order)
        if not self.states:
            return [self._segmentation_only(header, order)]
        self._check_evaluable()
        protocol = self.content["protocol"]
        if protocol["min_prediction"] is not None:
            smallest = (protocol["min_prediction"], protocol["min_anomaly"])
            fresh = score_components(
                self.states, order, smallest=smallest, read_map=read_map, read_label=read_label, on_progress=on_progress
            )
            for folder in fresh:
                self.states[folder].save(self.out / folder)
        seed = int(self.content["seed"])
        controls = [folder for folder, card in self.content["detectors"].items() if card.get("control")]
        comparison = compare_to_controls(self.states, controls, seed)
        cards = []
        for folder, state in self.states.items():
            card = {**anomaly_card(header, folder, state, seed), "comparison": comparison[folder]}
            write_card(self.out / folder, card, state, order)
            cards.append(card)
        return cards

    def _segmentation_only(self, header: Mapping[str, Any], order: list[str]) -> dict[str, Any]:
        assert self.segmentation is not None  # noqa: S101 - the plan has a network where it has no detector
        skipped = self.segmentation.skipped
        if header["segmentation"] is None:
            raise DataError(
                f"none of {len(order)} frames could be evaluated; the first because: {_first(skipped, order)}"
            )
        card = segmentation_card(header, skipped)
        write_card(self.out / SEGMENTATION_FOLDER, card, None, order)
        return card

    def _check_evaluable(self) -> None:
        if any(state.evaluable for state in self.states.values()):
            return
        state = next(iter(self.states.values()))
        counted = max(len(state.frames) for state in self.states.values())
        order = list(self.content["frames"])
        if not counted and state.dropped and not state.skipped:
            raise DataError(
                f"no anomaly in any of {len(order)} frames, and this protocol drops clean ones; check the labels"
            )
        if not counted:
            reason = _first(state.skipped, order)
            raise DataError(f"none of {len(order)} frames could be evaluated; the first because: {reason}")
        kind = "anomaly" if not any(row.anomaly for row in state.per_image.figures()) else "inlier"
        raise DataError(
            f"no {kind} pixel in any of {counted} frames, so AP, AUROC and FPR95 are undefined; check the label table "
            "and the split"
        )


def _first(skipped: Mapping[str, str], order: list[str]) -> str:
    return next((skipped[frame] for frame in order if frame in skipped), "nothing was read")
