"""Figures of the fixed position prior on real labels, known from elsewhere."""

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

from anomseg.metrics import PixelCurve


@pytest.mark.parametrize(
    ("folder", "table", "ap", "fpr95", "prevalence"),
    [
        ("RoadAnomaly", {0: 0, 2: 1}, 0.244, 0.678, 0.099),
        ("RoadAnomaly21", {0: 0, 1: 1, 255: 255}, 0.353, 0.644, 0.148),
    ],
)
def test_position_prior_on_real_labels(shared_data, folder, table, ap, fpr95, prevalence):
    state = PixelCurve()
    values = np.full(256, 7, np.uint8)
    values[list(table)] = list(table.values())
    labels, scores = [], []
    for path in sorted((shared_data / "anomaly" / folder / "labels_masks").glob("*.png")):
        label = values[np.asarray(Image.open(path))][::2, ::2]
        height, width = label.shape
        y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
        score = (-((x - 0.5) ** 2 / 0.15 + (y - 0.6) ** 2 / 0.05)).astype(np.float32)
        state.update(score, label, path.stem)
        labels.append(label[label != 255])
        scores.append(score[label != 255])
    result = state.compute()
    assert result.ap == pytest.approx(ap, abs=1e-3)
    assert result.fpr95 == pytest.approx(fpr95, abs=1e-3)
    assert result.prevalence == pytest.approx(prevalence, abs=1e-3)
    if folder == "RoadAnomaly21":
        truth, score = np.concatenate(labels), np.concatenate(scores)
        assert result.ap == pytest.approx(sk.average_precision_score(truth, score), abs=1e-12)
        assert result.auroc == pytest.approx(sk.roc_auc_score(truth, score), abs=1e-12)
