"""A network whose queries are known: each fires on one colour, at a quarter of the input's size."""

import numpy as np
import torch

from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.types import Frame

CLASSES = ("road", "sidewalk", "sky")
ROAD, SIDEWALK, SKY, CAR, COW = (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200)
COLOURS = (SKY, ROAD, COW, SIDEWALK, (1, 1, 1), ROAD)
"""What each query fires on; the last one is less sure of its mask."""
SIZE = (50, 70)


class ColourQueries(Segmenter):
    """Query q is sure of the pixels of its colour. Queries 0 and 1 are sky and road, the rest no object."""

    registry_name = "colours"
    provides = frozenset({"masks", "logits", "gradient"})

    def __init__(self, classes=CLASSES, seed: float = 0.0, queries: int = len(COLOURS)) -> None:
        super().__init__(classes, divisor=32)
        self.queries = queries
        self.marker = torch.nn.Parameter(torch.tensor(seed))
        table = torch.full((queries, len(classes) + 1), -6.0)
        table[:, -1] = 3.0
        table[0] = torch.tensor([-6.0, -6.0, 6.0, -6.0])
        table[1] = torch.tensor([6.0, -6.0, -6.0, -6.0])
        self.table = torch.nn.Parameter(table)

    def segment(self, batch, features):
        small = torch.nn.functional.avg_pool2d(batch, 4)
        masks = []
        for colour, strength in zip(COLOURS[: self.queries], (20, 20, 20, 20, 20, 1), strict=False):
            distance = (small - torch.tensor(colour).view(3, 1, 1) / 255).abs().sum(1)
            masks.append(strength * (1 - 5 * distance))
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(
            batch.new_zeros(len(batch), len(self.classes), *small.shape[-2:]),
            size,
            size,
            mask_logits=torch.stack(masks, 1),
            class_logits=self.table.expand(len(batch), -1, -1),
            derived=True,
        )


def street(seed: int = 0, cow: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, class map of CamVid and anomaly label: sky, road, a pavement, a car and maybe a cow on the road."""
    height, width = SIZE
    image = np.empty((height, width, 3), np.uint8)
    classes, label = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    image[:], image[20:], image[20:, 56:] = SKY, ROAD, SIDEWALK
    classes[20:], classes[20:, 56:] = 3, 4
    image[12:24, :12], classes[12:24, :12] = CAR, 8
    if cow:
        left = 20 + 4 * (seed % 4)
        image[28:40, left : left + 16], label[28:40, left : left + 16] = COW, 1
        classes[28:40, left : left + 16] = 255
    label[:4] = 255
    image[-1, -1, 0] += seed  # no two pictures are the same
    return image, classes, label


def ground_frames(count: int = 3) -> list[Frame]:
    meta = {"dataset": "camvid", "split": "train"}
    made = [street(seed, cow=False) for seed in range(count)]
    return [
        Frame(f"drive{i}", lambda image=image: image, classes, None, "", meta)
        for i, (image, classes, _) in enumerate(made)
    ]


def anomaly_frames(count: int = 3) -> list[Frame]:
    meta = {"dataset": "road_anomaly_21", "split": "validation"}
    made = [street(seed + 10) for seed in range(count)]
    return [
        Frame(f"cow{i}", lambda image=image: image, None, label, "", meta) for i, (image, _, label) in enumerate(made)
    ]
