"""Pictures of the frames where a detector does best and worst, scored afresh for the purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomseg.errors import AnomsegError
from anomseg.evaluation import MapSource, Sample
from anomseg.report.panels import frame_panel
from anomseg.types import Frame, UInt8Array

FRAMES_SHOWN = 3


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

    Returns:
        By detector, then by frame id, the panel ``(h, w, 3)`` uint8.
    """
    panels: dict[str, dict[str, UInt8Array]] = {folder: {} for folder in choices}
    known = {frame.id: frame for frame in frames}
    for frame_id in dict.fromkeys(one for choice in choices.values() for one in (*choice.best, *choice.worst)):
        wanted = [folder for folder, choice in choices.items() if frame_id in (*choice.best, *choice.worst)]
        for folder, panel in _panels(known[frame_id], source, wanted, classes, palette, captions or {}, set(bounded)):
            panels[folder][frame_id] = panel
    return panels


def _panels(
    frame: Frame,
    source: MapSource,
    folders: Sequence[str],
    classes: Sequence[str] | None,
    palette: Sequence[Sequence[int]] | None,
    captions: Mapping[str, Mapping[str, str]],
    bounded: set[str],
) -> Iterator[tuple[str, UInt8Array]]:
    try:
        image, label = frame.image(), frame.label
    except AnomsegError:
        return  # it was readable when it was evaluated; a report is no reason to fail now
    sample = Sample(frame.id, (image.shape[0], image.shape[1]), image)
    for answer in source.answers(sample, folders):
        if answer.score is None:
            continue
        yield (
            answer.folder,
            frame_panel(
                image,
                answer.score,
                label,
                source.prediction(),
                palette,
                classes=classes,
                title=captions.get(answer.folder, {}).get(frame.id, frame.id),
                score_name=answer.folder,
                bounded=answer.folder in bounded,
            ),
        )
