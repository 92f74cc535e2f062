"""Measuring with a clock of our own, and what the rows of a profile say of known networks and detectors."""

import itertools

import numpy as np
import pytest
import torch

from anomseg.detectors import Detector, create_detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.inference.costs import CostRow, describe_run, measure_costs
from anomseg.inference.profiling import Measured, measure, peak_memory, reason
from anomseg.segmenters import SegmentationOutput, Segmenter, TiledSegmenter
from anomseg.types import FeatureInfo, Flags, Needs


class Clock:
    """Time goes by only where a step says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def step(self, *durations):
        following = iter(durations)

        def run():
            self.now += next(following)

        return run


def test_only_timed_rounds_count_and_percentiles_are_numpys():
    clock, found = Clock(), {}
    measure({"a": clock.step(100, 50, 1, 2, 3, 10)}, found, repeats=4, warmup=2, clock=clock)
    assert found["a"].seconds == [1, 2, 3, 10]
    assert found["a"].percentile(50) == 2.5
    assert found["a"].percentile(95) == pytest.approx(np.percentile([1, 2, 3, 10], 95))
    assert Measured().percentile(50) is None


def test_steps_take_turns():
    order, found = [], {}
    steps = {name: (lambda name=name: order.append(name)) for name in "abc"}
    counted = itertools.count(1)
    calls = []
    measure(
        steps, found, repeats=2, warmup=1, peak=lambda step: step() or 7, on_step=lambda: calls.append(next(counted))
    )
    assert "".join(order) == "abc" * 4
    assert calls[-1] == 12
    assert {one.peak_bytes for one in found.values()} == {7}


def test_a_step_that_fails_is_told_and_the_others_go_on():
    clock, found, runs = Clock(), {}, []

    def fails():
        runs.append(1)
        if len(runs) == 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    measure({"bad": fails, "good": clock.step(1, 1, 1, 1)}, found, repeats=3, warmup=1, clock=clock)
    assert found["bad"].error == "out of memory"
    assert len(found["bad"].seconds) == 1
    assert len(runs) == 3
    assert found["good"].error is None
    assert found["good"].seconds == [1, 1, 1]


def test_an_interrupted_measurement_keeps_what_it_had():
    clock, found, runs = Clock(), {}, itertools.count()

    def stopped():
        if next(runs) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure({"a": clock.step(1, 2, 3), "b": stopped}, found, repeats=3, warmup=0, clock=clock)
    assert found["a"].seconds == [1, 2, 3]
    assert len(found["b"].seconds) == 2


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("x"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "out of memory"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
    ],
)
def test_reasons_are_one_line(error, text):
    assert reason(error) == text


def test_peak_memory_sees_what_a_step_takes_and_gives_back():
    def takes(mib):
        block = torch.ones(mib * 2**18)
        del block

    small, large = (peak_memory(lambda mib=mib: takes(mib), torch.device("cpu")) for mib in (8, 200))
    if large is None:
        pytest.skip("this system does not tell")
    assert 190 * 2**20 < large < 260 * 2**20
    assert small < 60 * 2**20


class Slow(Segmenter):
    """One pass is one call; features only where asked for."""

    registry_name = "slow"
    provides = frozenset({"logits", "features", "gradient", "dropout"})

    def __init__(self):
        super().__init__(("road", "sky"), divisor=8)
        self.calls = []
        self.eval()

    @property
    def feature_info(self):
        return {"grey": FeatureInfo(1, 1)}

    def segment(self, batch, features):
        size = tuple(batch.shape[-2:])
        self.calls.append((tuple(batch.shape), tuple(features)))
        grey = batch.mean(1, keepdim=True)
        return SegmentationOutput(torch.cat([grey, -grey], 1), size, size, dict.fromkeys(features, grey))


class Twice(Detector):
    """Reads a feature, and two more passes."""

    registry_name = "twice"
    flags = Flags(forward_passes=3)

    def needs(self, segmenter):
        return self.ask(segmenter, Needs(features=("grey",)))

    def score(self, scene):
        scene.forward()
        scene.forward()
        return scene.resize(scene.output.features["grey"])[:, 0]


class Broken(Detector):
    registry_name = "broken"

    def score(self, scene):
        raise RuntimeError("no such luck")


class Owner(Detector):
    registry_name = "owner"
    flags = Flags(owns_network=True)

    def __init__(self, network):
        super().__init__()
        self.segmenter = network

    def score(self, scene):
        assert scene.segmenter is self.segmenter
        return scene.logits()[:, 0]


def test_rows_of_a_profile_and_how_often_the_network_runs():
    network, other = Slow(), Slow()
    detectors = {"msp": create_detector("msp"), "twice": Twice(), "broken": Broken(), "owner": Owner(other)}
    steps = []
    groups = list(
        measure_costs(
            network,
            detectors,
            sizes=[(20, 33)],
            batches=[1, 3],
            repeats=2,
            warmup=1,
            on_step=lambda *told: steps.append(told),
        )
    )
    assert steps[-1] == (40, 40)
    assert [[row.name for row in rows] for rows in groups] == [["network", "msp", "twice", "broken", "owner"]] * 2
    network_row, msp, twice, broken, owner = groups[1]
    assert network_row.size == (20, 33)
    assert network_row.batch == 3
    assert all(len(row.measured.seconds) == 2 for row in (network_row, msp, twice, owner))
    assert broken.measured.error == "RuntimeError: no such luck"
    assert (msp.shares_pass, twice.shares_pass, owner.shares_pass) == (True, True, False)
    assert (msp.passes, twice.passes) == (1, 3)
    # Per size and batch 4 runs of the network and 4 of two passes; msp and broken share one answer, twice has one.
    of_three = [features for shape, features in network.calls if shape == (3, 3, 24, 40)]
    assert len(of_three) == 4 + 1 + 1 + 4 * 2
    assert of_three.count(("grey",)) == 1
    assert len(other.calls) == 2 * 4


def test_detectors_are_measured_without_the_pass_they_share():
    row = CostRow((8, 8), 4, "msp", 1, True, Measured([0.1, 0.3], 3 * 2**20), network_seconds=0.6)
    assert row.images_per_second == pytest.approx(4 / 0.8)
    told = row.as_dict()
    assert told["batch_ms"]["p50"] == 200
    assert told["image_ms"]["p50"] == 50
    assert told["peak_mib"] == 3
    alone = CostRow((8, 8), 4, "owner", 1, False, Measured([0.1, 0.3]), network_seconds=0.6)
    assert alone.images_per_second == pytest.approx(4 / 0.2)
    assert CostRow((8, 8), 4, "msp", 1, True, Measured([0.1]), None).images_per_second is None


def test_an_interrupt_gives_the_rows_so_far_and_goes_on():
    class Stops(Detector):
        registry_name = "stops"
        runs = 0

        def score(self, scene):
            self.runs += 1
            if self.runs == 4:
                raise KeyboardInterrupt
            return scene.logits()[:, 0]

    costs = measure_costs(Slow(), {"stops": Stops()}, sizes=[(16, 16)], batches=[1], repeats=5, warmup=1)
    rows = next(costs)
    assert {row.name: len(row.measured.seconds) for row in rows} == {"network": 2, "stops": 1}
    with pytest.raises(KeyboardInterrupt):
        next(costs)


def test_images_that_cannot_be_made_are_rows_and_the_next_batch_goes_on(monkeypatch):
    original = Slow.prepare

    def prepare(self, image, size=None):
        if size == (16, 16):
            raise MemoryError
        return original(self, image, size)

    monkeypatch.setattr(Slow, "prepare", prepare)
    detectors, sizes = {"msp": create_detector("msp")}, [(16, 16), (24, 24)]
    first, second = measure_costs(Slow(), detectors, sizes=sizes, batches=[1], repeats=1, warmup=0)
    assert [row.measured.error for row in first] == ["out of memory"] * 2
    assert [row.measured.error for row in second] == [None] * 2
    assert first[1].as_dict()["images_per_second"] is None


@pytest.mark.parametrize(
    ("detector", "options", "error", "message"),
    [
        ("sml", {}, CompatibilityError, "anomseg fit --detector sml"),
        ("msp", {"repeats": 0}, ConfigError, "1 or more"),
        ("msp", {"warmup": -1}, ConfigError, "0 or more"),
        ("msp", {"batches": [0]}, ConfigError, "1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(detector, options, error, message):
    network = Slow()
    with pytest.raises(error, match=message):
        next(measure_costs(network, {detector: create_detector(detector)}, **options))
    assert network.calls == []


def test_a_detector_with_its_own_network_is_measured_beside_a_backbone():
    backbone = Segmenter(())
    with pytest.raises(CompatibilityError, match="msp reads class logits"):
        next(measure_costs(backbone, {"msp": create_detector("msp")}))
    rows = next(measure_costs(backbone, {"owner": Owner(Slow())}, sizes=[(16, 16)], batches=[1], repeats=1, warmup=0))
    assert rows[1].measured.error is None


def test_a_profile_says_what_it_holds_for():
    about = describe_run(TiledSegmenter(Slow(), (16, 16), 4), torch.device("cpu"))
    assert about["execution"] == {"precision": "float32", "compile": False, "tile": [16, 16], "overlap": 4}
    assert about["threads"] == torch.get_num_threads()
    assert about["device"]["type"] == "cpu"
