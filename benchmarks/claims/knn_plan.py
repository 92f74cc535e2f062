"""What docs/claims-knn.md measures: networks, their layers, frames for the bank, frames to test on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from anomseg.data import load_frames
from anomseg.types import Frame

HELD_OUT = "bicyclist"
BLOCK = 20
"""Neighbouring frames of one CamVid sequence that are resampled together: a video has few sequences, and frames next
to each other are nearly the same picture."""


@dataclass(frozen=True)
class FrameSet:
    """A list of frames under a name.

    Attributes:
        key: Its name here, and its folder in the cache.
        title: Its name in tables.
        dataset: Registered name of the data set.
        folder: Its folder below the data folder.
        split: Which part.
        every: Every so-manieth frame is used.
        held_out: Class that counts as the anomaly.
        images: What becomes of images that show it, see `load_frames`.
        anomalies: Whether there are anomalies to find; sets without give false alarms alone.
    """

    key: str
    title: str
    dataset: str
    folder: str
    split: str | None = None
    every: int = 1
    held_out: tuple[str, ...] = ()
    images: str = "keep"
    anomalies: bool = True

    def frames(self, data: Path, limit: int | None = None) -> list[Frame]:
        """The frames, with the groups that intervals resample.

        Args:
            data: Folder of the data sets.
            limit: So many frames at most, spread evenly over the set.
        """
        found = load_frames(
            self.dataset,
            data / self.folder,
            self.split,
            held_out=self.held_out,
            held_out_images=self.images,  # type: ignore[arg-type] - one of the three words
        )
        grouped = [replace(frame, group=block_of(frame, place)) for place, frame in enumerate(found)][:: self.every]
        return grouped[:: max(1, len(grouped) // limit)][:limit] if limit else grouped


def block_of(frame: Frame, place: int) -> str:
    """The unit that intervals resample: blocks of neighbouring frames where a group is a long video."""
    return f"{frame.cluster}/{place // BLOCK}" if frame.meta.get("dataset") == "camvid" else frame.cluster


TRAIN = FrameSet("camvid-train", "CamVid train", "camvid", "camvid", "train")
TRAIN_DROP = replace(TRAIN, key="camvid-train-drop", held_out=(HELD_OUT,), images="drop")
ROAD = FrameSet("road_anomaly", "RoadAnomaly", "road_anomaly", "anomaly/RoadAnomaly")
ROAD_21 = FrameSet("road_anomaly_21", "RoadAnomaly21 val", "road_anomaly_21", "anomaly/RoadAnomaly21")
CLEAN = FrameSet("camvid-clean", "CamVid test", "camvid", "camvid", "test", every=12, anomalies=False)
IDD = FrameSet("idd-clean", "IDD-Lite val", "idd_lite", "idd_lite", "val", every=9, anomalies=False)
VAL = FrameSet("camvid-val", f"CamVid val, {HELD_OUT}", "camvid", "camvid", "val", every=2, held_out=(HELD_OUT,))
TEST = FrameSet("camvid-test", f"CamVid test, {HELD_OUT}", "camvid", "camvid", "test", held_out=(HELD_OUT,))


@dataclass(frozen=True)
class Network:
    """A network with everything that is measured on it.

    Attributes:
        key: Its name here, and its folder in the cache.
        title: Its name in tables.
        note: What must be said of it beside every figure.
        segmenter: As `load_segmenter` takes it.
        layers: Feature maps that are read; ``map@8`` is the mean of a finer map over cells of eight input pixels.
        bank: Frames of the reference bank.
        select: Frames that layer, k and upsampling are chosen on.
        test: Frames that the chosen configuration is looked at on, once.
        clean: Frames without anomalies, for false alarms.
        swept: Whether banks of all sizes and kinds are tried on it.
    """

    key: str
    title: str
    note: str
    segmenter: str
    layers: tuple[str, ...]
    bank: FrameSet = TRAIN
    select: FrameSet = ROAD_21
    test: FrameSet = ROAD
    clean: tuple[FrameSet, ...] = (CLEAN, IDD)
    swept: bool = True

    @property
    def sets(self) -> tuple[FrameSet, ...]:
        """All frame sets, those needed first before the others."""
        return (self.select, self.test, self.bank, *self.clean)


def erfnet(weights: Path, every: int = 1) -> Network:
    """The real network that was trained on Cityscapes.

    Args:
        weights: Its checkpoint.
        every: Every so-manieth frame of CamVid train is in its bank, to bound time: it is the slowest network here.
    """
    return Network(
        "erfnet",
        "erfnet-int8-recovered",
        "`erfnet-int8-recovered`: an ERFNet recovered from a public int8 checkpoint, not the published ERFNet; "
        "Cityscapes' classes, images stretched to 512x1024. The bank is of CamVid, a domain other than the network's.",
        f"erfnet:{weights}",
        ("encoder", "stage1", "decoder@8"),
        bank=replace(TRAIN, every=every, title=TRAIN.title if every == 1 else f"{TRAIN.title}, 1 frame in {every}"),
    )


def bundled() -> Network:
    """The network that ships."""
    return Network(
        "bundled",
        "bundled",
        "`bundled`: the network that ships, eleven classes of CamVid, images stretched to 360x480; it saw CamVid and "
        "IDD images in training.",
        "bundled",
        ("stage8", "stage16", "bottleneck", "decoder8", "decoder4"),
    )


def held_out(folder: Path) -> Network:
    """A network whose head was not taught one class, which is then the anomaly."""
    return Network(
        "held-out",
        f"camvid-no-{HELD_OUT}",
        f"`camvid-no-{HELD_OUT}` (seed 0): the encoder of `erfnet-int8-recovered`, frozen, and a head trained on the "
        f"166 images of CamVid train without a {HELD_OUT} (rule `drop`); 360x480. The encoder was trained on "
        "Cityscapes, which labels riders and bicycles: they are unknown to the head alone. The bank is of the same "
        "166 images.",
        str(folder),
        ("stage2", "encoder", "bottleneck"),
        bank=TRAIN_DROP,
        select=VAL,
        test=TEST,
        clean=(),
    )
