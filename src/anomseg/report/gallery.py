"""Pictures of the frames where a detector does best and worst, scored afresh for the purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from anomseg.errors import DataError, FrameError
from anomseg.evaluation import Answer, MapSource, Sample
from anomseg.report.panels import frame_panel
from anomseg.report.shown_frames import ShownFrames
from anomseg.types import Frame, UInt8Array

FRAMES_SHOWN = 3
#: Draws one detector's answer on a frame, whose image is given; None draws nothing.
Draw = Callable[[Frame, UInt8Array, Answer], UInt8Array | None]


@dataclass(frozen=True)
class Choice:
    """Which frames to show of one detector.

    Attributes:
        best: Frame ids of the highest average precision, best first.
        worst: Frame ids of the lowest, worst first.
    """

    best: tuple[str, ...]
    worst: tuple[str, ...]


def choose_frames(average_precision: Mapping[str, float | None], count: int = FRAMES_SHOWN) -> Choice:
    """Pick the best and the worst frames; no frame is both.

    Args:
        average_precision: AP of each frame alone; None where it is undefined (clean frames), which are left out.
        count: How many of each.

    Example:
        >>> choose_frames({"a": 0.9, "b": None, "c": 0.1, "d": 0.5}, count=1)
        Choice(best=('a',), worst=('c',))
    """
    scored = sorted((-value, frame) for frame, value in average_precision.items() if value is not None)
    names = [frame for _, frame in scored]
    best = names[: min(count, (len(names) + 1) // 2)]
    return Choice(tuple(best), tuple(reversed(names[len(best) :][-count:])))


def draw_frames(
    frames: Sequence[Frame],
    source: MapSource,
    choices: Mapping[str, Choice],
    *,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    captions: Mapping[str, Mapping[str, str]] | None = None,
    bounded: Iterable[str] = (),
    draw: Draw | None = None,
    shown: ShownFrames | None = None,
) -> dict[str, dict[str, UInt8Array]]:
    """Panels of the chosen frames; a frame that several detectors share is decoded and forwarded once.

    Args:
        frames: All frames of the run.
        source: Where their maps come from.
        choices: What to show, by detector folder.
        classes: Class names of the segmentation, for its legend.
        palette: Its colours.
        captions: By detector and frame, what to write above the panel.
        bounded: Detectors whose score lies in [0, 1] by construction.
        draw: Draws a panel in another way than `frame_panel` with these.
        shown: Collects every detector's map of its own choice of frames on the way.

    Returns:
        By detector, then by frame id, the panel ``(h, w, 3)`` uint8.
    """
    panels: dict[str, dict[str, UInt8Array]] = {folder: {} for folder in choices}
    known = {frame.id: frame for frame in frames}
    if draw is None:
        draw = _AnomalyPanels(source, classes, palette, captions or {}, frozenset(bounded))
    every = [one for choice in choices.values() for one in (*choice.best, *choice.worst)]
    for frame_id in dict.fromkeys([*every, *(shown.ids if shown else ())]):
        wanted = [folder for folder, choice in choices.items() if frame_id in (*choice.best, *choice.worst)]
        asked = list(choices) if shown and frame_id in shown else wanted
        # It was readable when it was evaluated; a report is no reason to fail now.
        with suppress(FrameError, DataError):
            for image, answer in _answers(known[frame_id], source, asked):
                panel = draw(known[frame_id], image, answer) if answer.folder in wanted else None
                if panel is not None:
                    panels[answer.folder][frame_id] = panel
                if shown is not None and answer.score is not None:
                    shown.add(known[frame_id], image, answer.folder, answer.score)
    return panels


@dataclass(frozen=True)
class _AnomalyPanels:
    source: MapSource
    classes: Sequence[str] | None
    palette: Sequence[Sequence[int]] | None
    captions: Mapping[str, Mapping[str, str]]
    bounded: frozenset[str]

    def __call__(self, frame: Frame, image: UInt8Array, answer: Answer) -> UInt8Array | None:
        if answer.score is None:
            return None
        return frame_panel(
            image,
            answer.score,
            frame.label,
            self.source.prediction(),
            self.palette,
            classes=self.classes,
            title=self.captions.get(answer.folder, {}).get(frame.id, frame.id),
            score_name=answer.folder,
            bounded=answer.folder in self.bounded,
        )


def _answers(frame: Frame, source: MapSource, folders: Sequence[str]) -> Iterator[tuple[UInt8Array, Answer]]:
    image = frame.image()
    for answer in source.answers(Sample(frame.id, (image.shape[0], image.shape[1]), image), folders):
        if answer.error is None:
            yield image, answer
