"""Temperature and calibration error against SciPy's minimiser and plain loops."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from anomseg.errors import CompatibilityError
from anomseg.scores import expected_calibration_error, fit_temperature, negative_log_likelihood


def labelled(seed: int, sharpness: float, count: int = 500, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose labels were drawn from their own softmax, then multiplied: the right temperature is `sharpness`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    return logits * sharpness, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_against_scipy(seed, sharpness):
    logits, labels = labelled(seed, sharpness)

    def loss(log_t: float) -> float:
        return float(F.cross_entropy(logits.double() / np.exp(log_t), labels))

    best = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-9})
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(float(np.exp(best.x)), rel=1e-5)
    assert fitted == pytest.approx(sharpness, rel=0.15)
    assert negative_log_likelihood(logits, labels, fitted) <= best.fun + 1e-12
    assert negative_log_likelihood(logits, labels, 1.0) == pytest.approx(float(F.cross_entropy(logits, labels)))


def test_a_common_offset_of_a_pixels_logits_changes_nothing():
    logits, labels = labelled(3, 2.0)
    assert fit_temperature(logits.double() + 1e4, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-6)


def test_the_ends_of_the_range():
    logits = torch.eye(3) * 4
    assert fit_temperature(logits, torch.tensor([0, 1, 2])) == pytest.approx(0.01)
    assert fit_temperature(logits, torch.tensor([1, 2, 0])) == pytest.approx(100)
    assert fit_temperature(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])) == pytest.approx(100)


def test_bad_input():
    for logits, labels in ((torch.zeros(0, 3), torch.zeros(0)), (torch.zeros(4, 3), torch.zeros(5))):
        with pytest.raises(CompatibilityError, match="temperature is fitted to"):
            fit_temperature(logits, labels)


def test_calibration_error_against_a_loop():
    generator = np.random.default_rng(0)
    confidence, correct = generator.random(400), generator.random(400) < 0.6
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    got = expected_calibration_error(torch.from_numpy(confidence), torch.from_numpy(correct))
    assert got == pytest.approx(expected, rel=1e-9)
    assert expected_calibration_error(torch.ones(5), torch.ones(5, dtype=torch.bool)) == 0
    assert expected_calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == 0
