"""Time Maskomaly's step against the forward pass of the mask transformer it scores, and against a plain rewriting.

    python benchmarks/maskomaly.py [--size 512x1024 1024x2048] [--network mask2former maskformer] [--rounds 3]

Networks have the shape of the published small ones (Swin-T, 100 queries, 19 classes) and random weights, since time
does not depend on them. What the step costs depends on the queries, so it is timed on two kinds: "scene", 25 queries of
known classes that part the picture among them, 15 of them confident, the others void, as a trained network answers; and
"worst", all 100 named as anomaly queries and firing at random, so that no mask can be left out anywhere.
Forward and step are timed in one run, and on "scene" the map must equal the plain rewriting's, which is timed too.
On a CPU times are processor seconds, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.cli.arguments import parse_size
from anomseg.data.label_space import label_space
from anomseg.detectors import create_detector
from anomseg.inference.predictor import find_device
from anomseg.segmenters import Scene, SegmentationOutput, Segmenter, load_segmenter

QUERIES, CLASSES, KNOWN, CONFIDENT = 100, 19, 25, 15


def network_of(family: str) -> Any:
    """A network of transformers with random weights."""
    import transformers as hf  # noqa: PLC0415 - slow to import

    names = dict(enumerate(label_space("cityscapes").names))
    stages = [f"stage{index}" for index in range(1, 5)]
    backbone = hf.SwinConfig(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], out_features=stages)
    if family == "mask2former":
        config = hf.Mask2FormerConfig(backbone_config=backbone, num_queries=QUERIES, id2label=names)
    else:
        config = hf.MaskFormerConfig(
            backbone_config=backbone, decoder_config=hf.DetrConfig(num_queries=QUERIES), id2label=names
        )
    return hf.AutoModelForUniversalSegmentation.from_config(config).eval()


def queries_like(kind: str, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Class logits ``(1, Q, C + 1)`` and mask logits ``(1, Q, h, w)`` of a kind of picture."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.zeros(1, QUERIES, CLASSES + 1)
    if kind == "worst":
        return classes, torch.randn(1, QUERIES, height, width, generator=generator) - 2.0
    classes[..., -1] = 6.0
    classes[0, torch.arange(KNOWN), torch.arange(KNOWN) % CLASSES] = 12.0
    classes[0, CONFIDENT:KNOWN, -1] = 11.5
    centres = torch.rand(KNOWN, 2, generator=generator) * torch.tensor([height, width])
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = ((rows - centres[:, 0, None, None]) ** 2 + (columns - centres[:, 1, None, None]) ** 2).sqrt()
    others = torch.stack([torch.cat([distance[:q], distance[q + 1 :]]).amin(0) for q in range(KNOWN)])
    masks = torch.full((1, QUERIES, height, width), -9.0)
    masks[0, :KNOWN] = ((others - distance) / 2).clamp(-9, 9)
    return classes, masks + 0.3 * torch.randn(masks.shape, generator=generator)


def plain(classes: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """The formula word for word: all masks upsampled, all pairs of known ones compared."""
    p, k = classes[0].softmax(-1).max(-1)
    m = F.interpolate(masks, size, mode="bilinear", align_corners=False)[0].sigmoid()
    known = (k != CLASSES).nonzero()[:, 0].tolist()
    score = torch.ones_like(m[0])
    for q in known:
        if p[q] > 0.7:
            score = torch.minimum(score, 1 - p[q] * m[q])
    for one, other in itertools.combinations(known, 2):
        score[(m[one] > 0.1) & (m[other] > 0.1)] = 0
    return 0.6 * score


def seconds(work: Callable[[], Tensor], rounds: int, device: torch.device) -> tuple[float, Tensor]:
    """Median time of a few rounds, and the last result."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(rounds):
        wait(device)
        started = clock()
        result = work()
        wait(device)
        times.append(clock() - started)
    return statistics.median(times), result


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(
    segmenter: Segmenter, size: tuple[int, int], kinds: list[str], rounds: int, device: torch.device
) -> Iterator[str]:
    """Rows of the table at one size."""
    batch = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    network: Any = segmenter.network
    forward, found = seconds(
        lambda: network(pixel_values=batch).masks_queries_logits, 1 if device.type == "cpu" else rounds, device
    )
    for kind in kinds:
        detector = create_detector("maskomaly", anomaly=list(range(QUERIES)) if kind == "worst" else [])
        classes, masks = (part.to(device) for part in queries_like(kind, found.shape[-2], found.shape[-1]))
        output = SegmentationOutput(
            masks.new_zeros(1, CLASSES, 1, 1), size, size, class_logits=classes, mask_logits=masks
        )
        step = partial(detector.score, Scene(batch, ["made"], [size], segmenter, output=output))
        step()
        own, score = seconds(step, rounds, device)
        row = f"| {segmenter.family.model_type} | {size[0]}x{size[1]} | {kind} | {forward:.3f} | {own:.4f} | "  # type: ignore[union-attr]
        row += f"{100 * own / forward:.1f} % | "
        if kind != "scene":
            yield row + "| |"
            continue
        slow, expected = seconds(partial(plain, classes, masks, size), 1, device)
        clear = (score[0] - expected).abs() < 1e-5
        assert clear.float().mean() > 1 - 1e-5, "the map is another one"  # rounding may make or unmake a border
        yield row + f"{slow:.3f} | {100 * slow / forward:.1f} % |"


def main() -> None:
    """Time everything and print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", nargs="+", default=["512x1024", "1024x2048"], help="HEIGHTxWIDTH ...")
    parser.add_argument("--network", nargs="+", default=["mask2former", "maskformer"])
    parser.add_argument("--kind", nargs="+", default=["scene", "worst"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = find_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"Maskomaly's step beside the forward pass, {device.type} ({name}), median of {options.rounds} rounds\n")
    print("| network | size | queries | forward s | maskomaly s | of the forward | plain s | of the forward |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with torch.inference_mode():
        for family in options.network:
            torch.manual_seed(0)
            segmenter = load_segmenter(network_of(family)).to(device)
            segmenter.network(pixel_values=torch.rand(1, 3, 64, 128, device=device))
            for text in options.size:
                size = parse_size(text)
                assert size is not None
                for row in compare(segmenter, size, options.kind, options.rounds, device):
                    print(row, flush=True)


if __name__ == "__main__":
    main()
