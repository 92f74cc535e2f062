"""Two moons: a flow of two numbers, trained jointly with a classifier, comes to draw the border of the data.

python benchmarks/two_moons.py [--out docs/pictures/two_moons.png]

The same couplings as the flow of images, and the joint loss of Grcić et al. (VISAPP 2021): cross-entropy and
likelihood on the data, and on samples the divergence of the classifier from uniform, whose gradient reaches both
networks. First the flow alone by maximum likelihood, then the classifier alone, then both.
"""

from __future__ import annotations

import argparse
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.synthetic_outliers.divergence import Divergence, divergence_to_uniform
from anomseg.detectors.synthetic_outliers.flow import AffineCoupling, Chain, normal_log_density
from anomseg.files import write_bytes

COVERED = 0.9
"""Share of the data that lies in the region of its highest density."""
NOISE = 0.1
"""Standard deviation of the points about their half circle."""


@dataclass(frozen=True)
class Settings:
    """How long and how hard to train.

    Attributes:
        flow_steps: Of the flow alone.
        classifier_steps: Of the classifier alone.
        joint_steps: Of both.
        weight: Of the divergence on samples, for the classifier.
        pull: How many times heavier it weighs for the flow. A classifier that heeds it as much gives up its classes;
            and for images, whose likelihood is a mean over thousands of values, it weighs heavier too.
        divergence: Which one.
        batch: Points a step, and as many samples.
        seed: Of everything.
    """

    flow_steps: int = 300
    classifier_steps: int = 100
    joint_steps: int = 600
    weight: float = 0.3
    pull: float = 30.0
    divergence: Divergence = "kl"
    batch: int = 256
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Two trained networks, and what was asked of them.

    Attributes:
        alone: The flow after its own training.
        joint: The flow after joint training.
        classifier: After joint training.
        points: ``(N, 2)`` data that neither has seen.
        threshold: Log-density of the data above which 90 % of those points lie.
        before: Samples ``(N, 2)`` of the flow alone.
        after: Samples of the joint one.
    """

    alone: Chain
    joint: Chain
    classifier: nn.Module
    points: Tensor
    threshold: float
    before: Tensor
    after: Tensor

    def outside(self, points: Tensor) -> float:
        """Share of points outside the region of the data."""
        return float((data_log_density(points) < self.threshold).float().mean())

    def confidence(self, points: Tensor) -> float:
        """Mean max-softmax of points."""
        return float(self.classifier(points).softmax(1).amax(1).mean())

    def figures(self) -> dict[str, float]:
        """What the demonstration is about."""
        return {
            "mean max-softmax on data": self.confidence(self.points),
            "mean max-softmax on samples": self.confidence(self.after),
            "samples outside, flow alone": self.outside(self.before),
            "samples outside, joint": self.outside(self.after),
        }


def two_moons(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Points ``(N, 2)`` about two half circles, and which of them each belongs to."""
    which = rng.integers(0, 2, count)
    points = half_circles(rng.uniform(0, math.pi, count), which) + rng.normal(0, NOISE, (count, 2))
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(which)


def half_circles(angle: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Points ``(N, 2)`` on one of two half circles that reach into each other."""
    sign = 1 - 2 * which
    return np.stack([np.cos(angle) * sign + which - 0.5, np.sin(angle) * sign + which * 0.5 - 0.25], 1)


def data_log_density(points: Tensor) -> Tensor:
    """Log-density ``(N,)`` of what `two_moons` draws: normals along both half circles, a quadrature over the angle."""
    angle = (np.arange(200) + 0.5) / 200 * math.pi
    centres = np.concatenate([half_circles(angle, np.full(200, which)) for which in (0, 1)])
    squares = torch.cdist(points, torch.from_numpy(centres.astype(np.float32))).square()
    return (-squares / (2 * NOISE**2)).logsumexp(1) - math.log(len(centres) * 2 * math.pi * NOISE**2)


def plane_flow(couplings: int = 6, width: int = 32) -> Chain:
    """Couplings of two numbers, by turns of one on the other."""
    made = []
    for index in range(couplings):
        last = nn.Linear(width, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        network = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last)
        made.append(AffineCoupling(([0], [1]) if index % 2 else ([1], [0]), network))
    return Chain(made)


def log_density(flow: Chain, points: Tensor) -> Tensor:
    """Log-density ``(N,)`` of points."""
    latents, logdet = flow(points)
    return normal_log_density(latents) + logdet


def train(settings: Settings) -> Outcome:
    """Train flow, classifier, then both."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    flow = plane_flow()
    classifier = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    rate = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(settings.flow_steps):
        points, _ = two_moons(settings.batch, rng)
        _step(rate, -log_density(flow, points).mean(), flow)
    both = torch.optim.Adam(classifier.parameters(), 5e-3)
    for _ in range(settings.classifier_steps):
        points, which = two_moons(settings.batch, rng)
        _step(both, F.cross_entropy(classifier(points), which), classifier)
    alone = plane_flow()
    alone.load_state_dict(flow.state_dict())
    both = torch.optim.Adam([*classifier.parameters(), *flow.parameters()], 4e-3)
    for _ in range(settings.joint_steps):
        points, which = two_moons(settings.batch, rng)
        samples = flow.inverse(torch.randn(settings.batch, 2))
        samples.register_hook(lambda gradient: settings.pull * gradient)
        unsure = divergence_to_uniform(classifier(samples), settings.divergence).mean()
        loss = F.cross_entropy(classifier(points), which) - log_density(flow, points).mean() + settings.weight * unsure
        _step(both, loss, flow)
    with torch.no_grad():
        points, _ = two_moons(2000, rng)
        threshold = float(data_log_density(points).quantile(1 - COVERED))
        before, after = (one.inverse(torch.randn(2000, 2)) for one in (alone, flow))
    return Outcome(alone, flow, classifier, points, threshold, before, after)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor, clipped: nn.Module) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(clipped.parameters(), 5.0)
    optimiser.step()


def picture(outcome: Outcome) -> bytes:
    """Density contours and samples before and after joint training, over the classifier's confidence. A PNG."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axis = torch.linspace(-2.4, 2.4, 241)
    grid = torch.cartesian_prod(axis, axis)
    x, y = (one.view(241, 241).numpy() for one in grid.T)
    panels = (("the flow alone", outcome.alone, outcome.before), ("trained jointly", outcome.joint, outcome.after))
    for axes, (title, flow, samples) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        with torch.no_grad():
            density = log_density(flow, grid).view(241, 241).numpy()
            region = data_log_density(grid).view(241, 241).numpy()
            sure = outcome.classifier(grid).softmax(1).amax(1).view(241, 241).numpy()
        shade = axes.contourf(x, y, sure, levels=np.linspace(0.5, 1, 11), cmap="Greys", alpha=0.5, extend="both")
        axes.contour(x, y, density, levels=np.linspace(-7, 0, 8), colors="tab:blue", linewidths=0.6)
        axes.contour(x, y, region, levels=[outcome.threshold], colors="black", linewidths=1.2)
        axes.scatter(*outcome.points[:400].T, s=3, c="tab:green", label="data")
        axes.scatter(*samples[:400].T, s=3, c="tab:red", label="samples")
        axes.set(title=f"{title}: {outcome.outside(samples):.0%} of samples outside", xlim=(-2.4, 2.4), ylim=(-2, 2))
        axes.legend(loc="upper right")
    figure.colorbar(shade, ax=figure.axes, label="max-softmax after joint training")
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def main() -> None:
    """Train, print the figures, draw the picture."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/two_moons.png"))
    parser.add_argument("--weight", type=float, default=Settings.weight)
    parser.add_argument("--divergence", choices=("js", "kl", "reverse_kl"), default=Settings.divergence)
    options = parser.parse_args()
    outcome = train(Settings(weight=options.weight, divergence=options.divergence))
    with torch.no_grad():
        for name, value in outcome.figures().items():
            print(f"{name}: {value:.3f}")
    write_bytes(options.out, picture(outcome))


if __name__ == "__main__":
    main()
