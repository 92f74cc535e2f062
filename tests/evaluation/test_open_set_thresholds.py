"""Open-set mIoU with thresholds that its own frames did not set: of the other half, of another run."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import TinySegmenter, write_tree

from anomseg.cli.main import run as command
from anomseg.data import label_space
from anomseg.detectors import create_detector
from anomseg.errors import ConfigError, DataError
from anomseg.evaluation import evaluate, merge
from anomseg.evaluation.halves import second_half
from anomseg.metrics import OpenSetIoU
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import make_scene, save_segmenter
from anomseg.types import Frame

GROUPS = {"0001TP": 4, "0006R0": 2, "Seq05VD": 1}
# Tiny's classes in CamVid's numbers: road 3, building 1, car 8, sky 0.
NUMBERS = np.array([3, 1, 8, 0], np.uint8)
PEDESTRIAN = 9
NAMES = [f"{group}_{index:06d}" for group, count in GROUPS.items() for index in range(count)]
SECOND = [name for name in NAMES if not name.startswith("0001TP")]
APART = ("seconds", "frames_per_second", "shards")


def write(root, split="test", names=NAMES, seed=0, values=(0, 1, 3, 5, 8, PEDESTRIAN, 255)):
    generator = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
    for name in names:
        image = generator.integers(0, 255, (16, 20, 3), dtype=np.uint8)
        label = generator.choice(np.array(values, np.uint8), (16, 20))
        Image.fromarray(image).save(root / "images" / split / f"{name}.png")
        Image.fromarray(label).save(root / "labels" / split / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    root = write(tmp_path_factory.mktemp("CamVid"))
    return write(root, "val", [f"0016E5_{index:06d}" for index in range(3)], seed=7)


def run(root, out=None, detectors=("msp", "energy"), **options):
    options = {"held_out": ["pedestrian"], **options}
    return evaluate("camvid", root, TinySegmenter(), list(detectors), out, **options)


@pytest.fixture(scope="module")
def whole(camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, run(camvid, out)


def pixels(root, names, split="test", kind="msp"):
    """Scores, predictions in CamVid's numbers, and targets as open-set figures count them."""
    scores, guesses, targets = [], [], []
    detector, network = create_detector(kind), TinySegmenter()
    for name in names:
        scene = make_scene([np.asarray(Image.open(root / "images" / split / f"{name}.png"))], [name], network)
        with torch.inference_mode():
            scores.append(detector.score(scene)[0].numpy())
            guesses.append(NUMBERS[scene.prediction()[0].numpy()])
        targets.append(np.asarray(Image.open(root / "labels" / split / f"{name}.png")))
    score, guess, target = (np.concatenate(part, axis=None) for part in (scores, guesses, targets))
    mapped = np.where(target == PEDESTRIAN, 11, np.where(np.isin(target, NUMBERS), target, 255)).astype(np.uint8)
    return score, guess, mapped


def open_miou(score, guess, target, threshold):
    state = OpenSetIoU(11, float(np.nextafter(np.float32(threshold), np.float32(-np.inf))))
    state.update(guess, score, target)
    return state.compute().iou[np.sort(NUMBERS)].mean()


def at_recall(score, target):
    odd = np.sort(score[target == 11])[::-1]
    return odd[int(np.ceil(0.95 * odd.size)) - 1]


@pytest.mark.parametrize("row", [0, 1])
def test_two_fold(camvid, whole, row):
    part = whole[1][row]["open_set"]["two_fold"]
    kind = ("msp", "energy")[row]
    halves = [pixels(camvid, [n for n in NAMES if (n in SECOND) == second], kind=kind) for second in (False, True)]
    figures = []
    for index, told in enumerate(part["halves"]):
        wanted = at_recall(halves[1 - index][0], halves[1 - index][2])
        # Thresholds lie on a grid, at or below the exact ones.
        assert told["threshold"] <= wanted
        assert told["threshold"] == pytest.approx(wanted, rel=1 / 2048)
        figures.append(open_miou(*halves[index], told["threshold"]))
        assert told["miou"] == pytest.approx(figures[-1], abs=1e-12)
    assert [told["frames"] for told in part["halves"]] == [4, 3]
    assert part["miou"] == pytest.approx((4 * figures[0] + 3 * figures[1]) / 7, abs=1e-12)
    assert part["frames"] == 7


def test_groups_are_dealt_out_whole_and_evenly():
    def frames(**sizes):
        return [Frame(f"{name}_{row}", None, group=name) for name, count in sizes.items() for row in range(count)]

    assert second_half(frames(t5=1, t6=900)) == {"t5"}
    assert second_half(frames(a=5, b=4, c=3, d=3)) == {"b", "c"}
    assert second_half(frames(a=5)) == second_half([]) == frozenset()
    assert second_half([Frame(str(index), None) for index in range(5)]) == {"1", "3"}
    assert second_half(frames(b=1, a=1)) == second_half(frames(a=1, b=1))


def test_one_group_has_no_halves(camvid):
    (card, _) = run(camvid, split="val")
    assert card["open_set"]["two_fold"] is None
    assert "two halves need two groups" in card["open_set"]["two_fold_reason"]
    assert card["open_set"]["at_tpr95"]["miou"] > 0


def test_a_half_without_anomalies(tmp_path):
    root = write(tmp_path, names=NAMES[:4])
    write(root, names=["Seq05VD_000000"], values=(0, 1, 3))
    (card, _) = run(root)
    assert card["open_set"]["two_fold"] is None
    assert "shows no anomaly" in card["open_set"]["two_fold_reason"]


def test_threshold_of_another_run(camvid, tmp_path):
    # The other split's labels are told apart by network and detector alone, whatever their folder is called.
    run(camvid, tmp_path / "val", detectors=["energy", "msp"], split="val")
    cards = run(camvid, tmp_path / "test", open_set_from=tmp_path / "val")
    val = [f"0016E5_{index:06d}" for index in range(3)]
    for card, kind in zip(cards, ("msp", "energy"), strict=True):
        part = card["open_set"]["at_other_run"]
        score, _, target = pixels(camvid, val, "val", kind)
        wanted = at_recall(score, target)
        assert part["threshold"] <= wanted
        assert part["threshold"] == pytest.approx(wanted, rel=1 / 2048)
        test = pixels(camvid, NAMES, kind=kind)
        assert part["miou"] == pytest.approx(open_miou(*test, part["threshold"]), abs=1e-12)
        assert part["tpr"] == pytest.approx((test[0] >= part["threshold"])[test[2] == 11].mean())
        assert {key: part["from"][key] for key in ("benchmark", "split", "frames", "held_out")} == {
            "benchmark": "camvid", "split": "val", "frames": 3, "held_out": ["pedestrian"],
        }  # fmt: skip
    (one,) = run(camvid, detectors=["msp"], open_set_from=tmp_path / "val" / "msp")
    assert one["open_set"]["at_other_run"] == cards[0]["open_set"]["at_other_run"]


def test_without_the_option_nothing_changes_but_the_figure_is_null(whole):
    record = json.loads((whole[0] / "run.json").read_text())["run"]
    assert not {"bands", "open_set_from"} & record.keys()
    assert all(card["open_set"]["at_other_run"] is None for card in whole[1])


def comparable(cards):
    return [{key: value for key, value in card.items() if key not in APART} for card in cards]


def test_shards_are_bit_equal(camvid, tmp_path):
    run(camvid, tmp_path / "val", split="val", detectors=["msp"])
    options = {"detectors": ["msp"], "open_set_from": tmp_path / "val", "bands": [1, 3]}
    expected = run(camvid, tmp_path / "whole", **options)
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        run(camvid, folder, shard=(index, 3), **options)
    merged = merge([folders[1], folders[2], folders[0]], tmp_path / "merged")
    assert comparable(merged) == comparable(expected)
    assert list(merged[0]["bands"]) == ["1", "3"]


def test_a_resumed_run_is_bit_equal_and_an_older_one_says_what_it_lacks(camvid, whole, tmp_path):
    def interrupt(done, total, text):
        if done == 3:
            raise KeyboardInterrupt

    for name in ("now", "earlier"):
        with pytest.raises(KeyboardInterrupt):
            run(camvid, tmp_path / name, on_progress=interrupt)
    for index in (tmp_path / "earlier").glob("*/state/state.json"):
        content = json.loads(index.read_text())
        if "open_set_second" in content["parts"]:
            # A version without halves has all frames in one part; this interruption was within the first half.
            del content["parts"]["open_set_second"], content["meta"]["classes"]["second_half"]
            del content["meta"]["bands"]
            index.write_text(json.dumps(content))
    assert comparable(run(camvid, tmp_path / "now")) == comparable(whole[1])
    for card, complete in zip(run(camvid, tmp_path / "earlier"), whole[1], strict=True):
        assert card["open_set"]["two_fold"] is None
        assert "earlier version" in card["open_set"]["two_fold_reason"]
        assert card["open_set"]["at_tpr95"] == complete["open_set"]["at_tpr95"]


def test_what_another_run_is_refused_for(camvid, whole, tmp_path):
    with pytest.raises(ConfigError, match="counted on 7 of these frames"):
        run(camvid, open_set_from=whole[0])
    with pytest.raises(DataError, match="holds no run; give the --out of a finished evaluation"):
        run(camvid, open_set_from=tmp_path)
    run(camvid, tmp_path / "val", split="val", detectors=["msp"])
    with pytest.raises(ConfigError, match=r"no figures of energy with the same parameters, state and network.*: msp"):
        run(camvid, open_set_from=tmp_path / "val")
    other = evaluate(
        "camvid", camvid, TinySegmenter(5), ["msp"], tmp_path / "net", split="val", held_out=["pedestrian"]
    )
    assert other
    with pytest.raises(ConfigError, match="no figures of msp"):
        run(camvid, detectors=["msp"], open_set_from=tmp_path / "net")
    run(camvid, tmp_path / "shard", split="val", detectors=["msp"], shard=(0, 2))
    with pytest.raises(ConfigError, match="is a shard; merge"):
        run(camvid, detectors=["msp"], open_set_from=tmp_path / "shard")
    shutil.rmtree(tmp_path / "val" / "msp" / "state")
    with pytest.raises(DataError, match="has no metric state"):
        run(camvid, detectors=["msp"], open_set_from=tmp_path / "val")
    tree = write_tree(tmp_path / "tree")
    with pytest.raises(ConfigError, match="goes with detectors on a network"):
        evaluate("road_anomaly_21", tree, scores=tree / "images", open_set_from=whole[0])


def test_an_interrupted_run_gives_no_threshold(camvid, tmp_path):
    def interrupt(done, total, text):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(camvid, tmp_path / "val", split="val", detectors=["msp"], on_progress=interrupt)
    with pytest.raises(DataError, match="lacks 1 of its frames; evaluate there to the end"):
        run(camvid, detectors=["msp"], open_set_from=tmp_path / "val")


def test_command_line(camvid, tmp_path, capsys):
    space = label_space("camvid")
    torch.manual_seed(0)
    options = {"size": (16, 20), "widths": (8, 12, 16, 24), "bottleneck": 16}
    save_segmenter(SEGMENTERS.create("pyramid", classes=space.names, palette=space.palette, **options), tmp_path / "n")
    base = ["evaluate", "--benchmark", "camvid", "--root", str(camvid), "--segmenter", str(tmp_path / "n")]
    base += ["--detector", "msp", "--held-out", "pedestrian", "--quiet", "--no-report"]
    assert command([*base, "--split", "val", "--out", str(tmp_path / "val")]) == 0
    more = ["--open-set-from", str(tmp_path / "val"), "--band", "2, 1"]
    assert command([*base, *more, "--out", str(tmp_path / "test")]) == 0
    card = json.loads((tmp_path / "test" / "msp" / "metrics.json").read_text())
    assert card["open_set"]["at_other_run"]["from"]["split"] == "val"
    assert list(card["bands"]) == ["1", "2"]
    assert command([*base, "--band", "wide", "--out", str(tmp_path / "x")]) == 2
    assert "--band 'wide' is no number of pixels" in capsys.readouterr().err
