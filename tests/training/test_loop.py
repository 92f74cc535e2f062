"""The loop that all trainings share: what it leaves, how it goes on, what it says when it cannot."""

import csv
import importlib.util
import re
import signal
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import PALETTE, Pictures, Toy, optimiser

from anomseg.errors import AnomsegError, ConfigError
from anomseg.training import logs
from anomseg.training.base_module import DivergenceError
from anomseg.training.loop import run_training

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]


def run(module, folder, **more):
    options = {"batch_size": 2, "quiet": True} | more
    return run_training(module, Pictures(), Pictures(3), folder=folder, **options)


def weights(module):
    return torch.cat([value.flatten() for value in module.net.state_dict().values()])


def test_a_training_learns_and_tells(tmp_path):
    told = run(Toy(optimiser()), tmp_path / "net")
    assert (told["steps"], told["images_seen"]) == (12, 24)
    assert told["validation"]["val_loss"] < told["validation_start"]["val_loss"]
    assert set(told["validation"]) == set(told["validation_start"]) == {"val_loss", "val_miou"}
    assert "settings" not in told


def test_figures_are_means_over_validation_images(tmp_path):
    module = Toy(optimiser(steps=0))
    told = run(module, tmp_path / "net")
    losses, hits = [], np.zeros((2, 2))
    for sample in (Pictures()[index] for index in range(3)):
        logits = module.net(sample["image"][None])
        losses.append(torch.nn.functional.cross_entropy(logits, sample["classes"][None]).item())
        for truth, guess in zip(sample["classes"].flatten(), logits.argmax(1).flatten(), strict=True):
            hits[truth, guess] += 1
    iou = np.diag(hits) / (hits.sum(0) + hits.sum(1) - np.diag(hits))
    assert told["validation"]["val_loss"] == pytest.approx(np.mean(losses), abs=1e-4)
    assert told["validation"]["val_miou"] == pytest.approx(iou.mean(), abs=1e-4)
    assert told["steps"] == told["images_seen"] == 0
    assert not (tmp_path / "net" / "last.ckpt").exists()


def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path):
    straight = Toy(optimiser())
    told = run(straight, tmp_path / "straight")
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(Toy(optimiser(), {6: "stop"}), tmp_path / "stopped")
    assert signal.getsignal(signal.SIGINT) is handler  # Lightning would leave it ignored
    resumed = Toy(optimiser())
    again = run(resumed, tmp_path / "stopped")
    assert resumed.seen == list(range(4, 12))
    assert torch.equal(weights(straight), weights(resumed))
    assert again["validation"] == told["validation"]
    assert again["validation_start"] == told["validation_start"]


def test_a_training_that_was_done_but_not_recorded_tells_the_same(tmp_path):
    told = run(Toy(optimiser()), tmp_path / "net")
    module = Toy(optimiser())
    again = run(module, tmp_path / "net")
    assert module.seen == []
    assert again["validation"] == told["validation"]


def test_samples_and_result_are_the_same_for_any_number_of_workers(tmp_path):
    alone, helped = Toy(optimiser()), Toy(optimiser())
    run(alone, tmp_path / "alone")
    run(helped, tmp_path / "helped", workers=2)
    assert torch.equal(weights(alone), weights(helped))


# ------------------------------------------------------------------------------------- memory and divergence


@pytest.mark.parametrize(("event", "step"), [("nan", 6), ("spoil", 7)])
def test_divergence_keeps_the_last_good_checkpoint_and_a_lower_rate_goes_on_from_it(tmp_path, event, step):
    """At step 7, the last of its epoch, loss and checkpoint's turn come before any loss could tell."""
    folder = tmp_path / "net"
    with pytest.raises(DivergenceError, match=r"lower --stages\.net\.trainer\.learning_rate") as failure:
        run(Toy(optimiser(), {step: event}), folder)
    assert "\n" not in str(failure.value)
    assert "goes on from the last checkpoint" in str(failure.value)
    kept = torch.load(folder / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())

    resumed = Toy(optimiser(learning_rate=0.05))
    told = run(resumed, folder)
    assert resumed.seen == list(range(4, 12))
    assert resumed.rates == pytest.approx([0.05 * (1 - step / 12) ** 0.9 for step in range(4, 12)])
    assert [(step, settings["learning_rate"]) for step, settings in told["settings"]] == [(0, 0.2), (4, 0.05)]


def test_a_loss_in_validation_that_is_not_finite_writes_no_checkpoint(tmp_path, monkeypatch):
    step = Toy.validation_step

    def broken(self, batch, index):
        step(self, batch, index)
        if self.global_step:
            self.tell("val_loss", float("inf"))

    monkeypatch.setattr(Toy, "validation_step", broken)
    with pytest.raises(DivergenceError, match="the loss in validation became inf at step 4"):
        run(Toy(optimiser()), tmp_path / "net")
    assert not (tmp_path / "net" / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("event", "step", "lower"),
    [("memory", 2, "batch_size"), ("cuda", 6, "batch_size"), ("memory", -1, r"module\.options\.size")],
)
def test_running_out_of_memory_is_told_in_one_line_with_what_to_lower(tmp_path, event, step, lower):
    with pytest.raises(AnomsegError, match=rf"^out of memory; .* lower --stages\.net\..*{lower}") as failure:
        run(Toy(optimiser(), {step: event}), tmp_path / "net")
    assert "\n" not in str(failure.value)
    after = "goes on from the last checkpoint" if step > 4 else "begins anew"
    assert after in str(failure.value)


def test_smaller_batches_go_on_and_the_images_are_counted(tmp_path):
    with pytest.raises(AnomsegError, match="out of memory"):
        run(Toy(optimiser(), {5: "cuda"}), tmp_path / "net", batch_size=4)
    told = run(Toy(optimiser()), tmp_path / "net", batch_size=2)
    assert told["images_seen"] == 4 * 4 + 8 * 2


def test_other_faults_are_not_dressed_up(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "loss_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(Toy(optimiser()), tmp_path / "net")


# ------------------------------------------------------------------------------------------ logs and pictures


def test_figures_are_logged_as_csv_and_for_tensorboard_each_start_apart(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Toy(optimiser(), {6: "stop"}), tmp_path / "net")
    run(Toy(optimiser()), tmp_path / "net")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps = []
    for start in ("start-1", "start-2"):
        folder = tmp_path / "net" / "log" / start
        rows = list(csv.DictReader((folder / "metrics.csv").open()))
        losses = [float(row["val_loss"]) for row in rows if row["val_loss"]]
        events = EventAccumulator(str(folder)).Reload()
        assert [one.value for one in events.Scalars("val_loss")] == pytest.approx(losses)
        steps += [one.step for one in events.Scalars("val_loss")]
        assert len(events.Images("samples")) == len(losses)
    assert steps == [3, 7, 11]


def test_without_tensorboard_csv_is_enough_and_this_is_said_once(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "tensorboard" else found(name, *a)
    )
    logs._has_tensorboard.cache_clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(Toy(optimiser()), tmp_path / "one")
        run(Toy(optimiser()), tmp_path / "two")
    logs._has_tensorboard.cache_clear()
    said = [str(one.message) for one in caught if "tensorboard" in str(one.message).lower()]
    assert len(said) == 1
    assert "CSV alone" in said[0]
    assert [path.name for path in (tmp_path / "two" / "log" / "start-1").iterdir()] == ["metrics.csv"]


def test_pictures_show_image_labels_and_prediction(tmp_path):
    module = Toy(optimiser())
    run(module, tmp_path / "net")
    files = sorted(path.name for path in (tmp_path / "net" / "samples").iterdir())
    assert files == [f"step-{step:07d}.png" for step in (0, 4, 8, 12)]
    picture = np.asarray(Image.open(tmp_path / "net" / "samples" / files[-1]))
    assert picture.shape == (3 * 8 + 2 * 4, 3 * 12 + 2 * 4, 3)
    for row in range(3):
        sample = Pictures()[row]
        top = row * 12
        image, labels, prediction = (picture[top : top + 8, left : left + 12] for left in (0, 16, 32))
        np.testing.assert_array_equal(image, (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
        np.testing.assert_array_equal(labels, np.array(PALETTE, np.uint8)[sample["classes"].numpy()])
        expected = module.net(sample["image"][None]).argmax(1)[0].numpy()
        np.testing.assert_array_equal(prediction, np.array(PALETTE, np.uint8)[expected])


def test_pictures_are_bounded_and_the_last_one_is_there(tmp_path):
    run(Toy(optimiser(steps=50, validate_every=1)), tmp_path / "net")
    files = sorted(path.name for path in (tmp_path / "net" / "samples").iterdir())
    assert len(files) <= 13
    assert (files[0], files[-1]) == ("step-0000000.png", "step-0000050.png")
    gaps = np.diff([int(name[5:12]) for name in files[1:]])
    assert set(gaps.tolist()) == {5}


def test_stages_without_class_maps_get_no_pictures(tmp_path):
    run(Toy(optimiser(), pictured=False), tmp_path / "net")
    assert not (tmp_path / "net" / "samples").exists()


@pytest.mark.parametrize(
    ("terminal", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_progress_bar_is_for_terminals_that_want_it(tmp_path, monkeypatch, capsys, terminal, quiet, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    run(Toy(optimiser()), tmp_path / "net", quiet=quiet)
    told = capsys.readouterr()
    assert bool(re.search(r"Epoch.*\d", told.out)) is shown
    if not shown:
        assert told.out == ""


# ---------------------------------------------------------------------------------------------- several devices


@pytest.mark.parametrize(("batch", "devices"), [(3, 2), (4, 4)])
def test_what_cannot_be_shared_is_refused(tmp_path, batch, devices):
    with pytest.raises(ConfigError, match=f"{devices} devices cannot share {batch} crops a step and 3 validation"):
        run(Toy(optimiser(devices=devices)), tmp_path / "net", batch_size=batch)


@pytest.mark.slow
def test_two_devices_end_where_one_ends(tmp_path):
    alone, shared = Toy(optimiser()), Toy(optimiser(devices=2))
    one = run(alone, tmp_path / "one", batch_size=4)
    two = run(shared, tmp_path / "two", batch_size=4)
    # The mean of two halves' gradients is that of the whole, but for the order of summing.
    torch.testing.assert_close(weights(shared), weights(alone), rtol=1e-5, atol=1e-6)
    for key in ("steps", "images_seen", "validation_start"):
        assert two[key] == one[key]
    assert two["validation"] == pytest.approx(one["validation"], abs=2e-4)
    # Nothing is written twice.
    assert len(list((tmp_path / "two" / "log").iterdir())) == 1
    rows = list(csv.DictReader((tmp_path / "two" / "log" / "start-1" / "metrics.csv").open()))
    assert sum(1 for row in rows if row["val_loss"]) == 3
    assert sorted(path.name for path in (tmp_path / "two" / "samples").iterdir())[-1] == "step-0000012.png"


@pytest.mark.slow
def test_faults_on_another_device_are_told_as_here_and_the_training_goes_on(tmp_path):
    straight = Toy(optimiser())
    run(straight, tmp_path / "straight", batch_size=4)
    with pytest.raises(DivergenceError, match=r"^the loss became nan at step 6: the training diverged") as failure:
        run(Toy(optimiser(devices=2), {6: "nan"}), tmp_path / "net", batch_size=4)
    assert "\n" not in str(failure.value)
    with pytest.raises(AnomsegError, match=r"^out of memory"):
        run(Toy(optimiser(devices=2), {6: "memory"}), tmp_path / "net", batch_size=4)
    resumed = Toy(optimiser(devices=2))
    run(resumed, tmp_path / "net", batch_size=4)
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf17"}, "precision bf17 cannot be had"),
        ({"accelerator": "abacus"}, "accelerator abacus"),
        pytest.param(
            {"accelerator": "cuda"},
            "accelerator cuda",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="GPU"),
        ),
    ],
)
def test_devices_and_precisions_that_are_not_there_are_said_so_in_one_line(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        run_training(
            Toy(optimiser(**settings)), Pictures(), Pictures(2), folder=tmp_path / "net", batch_size=2, quiet=True
        )
    assert "\n" not in str(caught.value)
