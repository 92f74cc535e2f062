"""A small data set, and predictions of it that are wrong in places that a comparator can learn."""

import torch
from torch.nn import functional as F

from anomseg.data import frame_fingerprint, label_space, load_frames
from anomseg.files import write_json
from anomseg.segmenters import SegmentationOutput
from anomseg.training.folds import write_prediction

CAMVID = label_space("camvid").names


def write_folds(root, folder, split="train"):
    """Every second frame's ground is predicted as the next class; its left third, though, is always right."""
    frames = load_frames("camvid", root, split)
    entries = {}
    for number, frame in enumerate(frames):
        classes = torch.from_numpy(frame.classes).long()
        wrong = classes.clamp(max=10)
        if number % 2:
            wrong[:, wrong.shape[1] // 3 :] = (wrong[:, wrong.shape[1] // 3 :] + 1) % 11
        logits = F.one_hot(wrong, 11).permute(2, 0, 1)[None].float() * 3
        logits += torch.rand(logits.shape, generator=torch.Generator().manual_seed(number))
        size = tuple(classes.shape)
        file = f"predictions/{number:06d}.safetensors"
        write_prediction(folder / file, SegmentationOutput(logits, size, size), 65536)
        entries[frame.id] = {"fold": number % 2, "file": file, "fingerprint": frame_fingerprint(frame)}
    ids = list(entries)
    networks = [{"sha256": str(fold), "seen": [ids[n] for n in range(len(ids)) if n % 2 != fold]} for fold in range(2)]
    write_json(
        folder / "folds.json",
        {
            "schema": 1,
            "classes": list(CAMVID),
            "space": "camvid",
            "held_out": {"classes": [], "images": "drop"},
            "source": {"benchmark": "camvid", "split": split, "limit": None},
            "rule": "contiguous",
            "gap": 0,
            "seed": 0,
            "miou": 0.5,
            "networks": networks,
            "frames": entries,
        },
    )
