"""Result cards as `evaluate` writes them, whole and full of nulls."""

from typing import Any

import numpy as np


def card(name: str, ap: float = 0.4, **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "schema": 1,
        "task": "anomaly",
        "benchmark": "road_anomaly_21",
        "protocol": {"name": "smiyc", "version": 1, "void": [255], "fpr_rule": "first>=", "aggregation": "pooled"},
        "segmenter": {"name": "erfnet", "classes": ["road"], "size": [512, 1024], "sha256": "30cfe79b3d8739d9"},
        "detector": {"name": name, "bounded": False, "forward_passes": 1},
        "frames": 10,
        "pixels": {"inlier": 8_000_000, "anomaly": 1_000_000, "void": 7},
        "prevalence": 0.1111,
        "pixel": {"ap": ap, "nap": 0.31, "auroc": 0.81, "fpr95": 0.7, "best_f1": 0.5, "best_f1_threshold": 1.5},
        "pixel_ci95": {"ap": [ap - 0.05, ap + 0.06], "auroc": None},
        "per_image_mean": {"ap": 0.35, "auroc": 0.79, "fpr95": 0.71, "frames": 9},
        "component": {"siou": 0.2, "ppv": 0.12, "f1_star": 0.05, "f1": {"0.25": 0.1}},
        "mdm": {"value": 0.18, "quality": 0.7, "steps": 1000},
        "mdm_calibrated": None,
        "seconds": {"forward": 1.25},
    }
    return {**content, **changes}


def nulls(name: str = "msp") -> dict[str, Any]:
    return dict.fromkeys(card(name)) | {"detector": {"name": name}}


def picture(seed: int = 0, size: tuple[int, int] = (90, 160)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def class_card(name: str, efpr: float = 0.72, **changes: Any) -> dict[str, Any]:
    """A card with the figures on classes and on probability, as far as tables read them."""
    return card(
        name,
        misclassified={
            "efpr95": efpr,
            "cfpr95": 0.28,
            "share_of_false_positives": {"fpr": 0.05, "misclassified": 0.44, "base": 0.118},
            "ci95": {"efpr95": [efpr - 0.03, efpr + 0.04], "share": [0.41, 0.47], "samples": 1000, "groups": 5},
        },
        open_set={"closed_miou": 0.618, "at_tpr95": {"miou": 0.442}, "at_best_f1": {"miou": 0.61, "oracle": True}},
        own_segmentation=None,
        probability={"ece": 0.128, "ece_equal_mass": 0.127, "brier": 0.051, "brier_of_prevalence": 0.006, "bins": []},
        parameter_counts={"network": 2188304, "carried": {"student": 1000}, "total": 2189304, "state": 0},
        **changes,
    )
