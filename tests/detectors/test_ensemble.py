"""Ensembles: members of unequal padding and resolution, one set of classes, saved with copies of them all."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from tiny import CLASSES, TinySegmenter, made_image

from anomseg.detectors import anomaly_maps, create_detector, load_detector, network_of, save_detector
from anomseg.detectors.ensemble import Ensemble
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.files import sha256_of_file
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import SegmentationOutput, Segmenter, save_segmenter
from anomseg.segmenters.scene import Scene, make_scene


def pyramid(seed: int, classes=CLASSES) -> Segmenter:
    torch.manual_seed(seed)
    options = {"widths": (4, 6, 8, 8), "bottleneck": 6, "size": (24, 40)}
    return SEGMENTERS.create("pyramid", classes=classes, **options).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("members")
    for seed in range(3):
        save_segmenter(pyramid(seed), root / f"net{seed}")
    save_segmenter(pyramid(3, ("sky", "road", "bus", "tree", "wall")), root / "other")
    save_segmenter(pyramid(3, CLASSES[:4]), root / "fewer")
    return [str(path) for path in sorted(root.glob("net*"))]


def hosted(detector: Ensemble, size=(45, 61)) -> Scene:
    return make_scene([made_image(0, size)], ["image0"], network_of(detector, None))


def test_entropy_and_information_of_members_of_unequal_padding_and_resolution():
    networks = [TinySegmenter(0, size=(22, 30)), pyramid(1), TinySegmenter(2)]
    scene = make_scene([made_image(0, (45, 61))], ["image0"], networks[0])
    p = []
    for network in networks:
        alone = make_scene([made_image(0, (45, 61))], ["image0"], network, size=(22, 30))
        p.append(alone.logits().softmax(1).double())
    p = torch.stack(p).detach()
    total = -(p.mean(0) * p.mean(0).log()).sum(1)[0]
    single = -(p * p.clamp(min=1e-300).log()).sum(2).mean(0)[0]
    for measure, expected in (
        ("entropy", total / math.log(5)),
        ("mutual_information", (total - single) / math.log(5)),
        ("msp", 1 - p.mean(0).amax(1)[0]),
    ):
        detector = Ensemble.of(networks, measure=measure)
        torch.testing.assert_close(anomaly_maps(detector, scene)[0].double(), expected, atol=1e-5, rtol=1e-4)


def test_identical_members_do_not_disagree():
    detector = Ensemble.of([pyramid(1), pyramid(1)], measure="mutual_information")
    assert anomaly_maps(detector, hosted(detector))[0].max() < 1e-6
    apart = Ensemble.of([pyramid(1), pyramid(2)], measure="mutual_information")
    assert anomaly_maps(apart, hosted(apart))[0].max() > 1e-6


def test_the_hosts_pass_is_shared_and_members_are_counted():
    networks = [TinySegmenter(0), TinySegmenter(1)]
    detector = Ensemble.of(networks)
    scene = make_scene([made_image(0, (20, 30))], ["x"], networks[0])
    assert scene.output is not None
    anomaly_maps(detector, scene)
    assert [network.passes for network in networks] == [1, 1]
    assert detector.forward_passes == detector.card()["forward_passes"] == 2
    assert detector.flags.owns_network


def test_members_as_one_text_or_a_list(folders):
    text = create_detector(f"ensemble:members={folders[0]}+{folders[1]}")
    listed = create_detector("ensemble", members=folders[:2])
    assert text.forward_passes == listed.forward_passes == 2
    assert torch.equal(*(anomaly_maps(detector, hosted(detector))[0] for detector in (text, listed)))
    assert text.segmenter is text.networks()["member0"]
    assert list(text.card()["networks"]) == ["member0", "member1"]


def test_members_must_share_their_classes(folders):
    root = Path(folders[0]).parent
    with pytest.raises(CompatibilityError, match=r"class 2 is 'car' for .*net0 and 'bus' for .*other"):
        create_detector(f"ensemble:members={folders[0]}+{root / 'other'}").needs(None)
    with pytest.raises(CompatibilityError, match=r"net0 has 5, .*fewer has 4"):
        create_detector(f"ensemble:members={folders[0]}+{root / 'fewer'}").needs(None)


def test_too_few_or_unknown_members(folders, tmp_path):
    with pytest.raises(ConfigError, match="no members"):
        create_detector("ensemble").needs(None)
    with pytest.raises(CompatibilityError, match="two members"):
        create_detector(f"ensemble:members={folders[0]}").needs(None)
    with pytest.raises(ConfigError, match="unknown segmenter"):
        create_detector(f"ensemble:members={folders[0]}+nothing").needs(None)
    for weightless in ("erfnet", "pyramid"):
        with pytest.raises(ConfigError, match="no weights"):
            create_detector(f"ensemble:members={folders[0]}+{weightless}").needs(None)
    with pytest.raises(CompatibilityError, match="nothing to save"):
        save_detector(create_detector("ensemble"), tmp_path / "empty")
    with pytest.raises(CompatibilityError, match="cannot be saved"):
        save_detector(Ensemble.of([TinySegmenter(0), TinySegmenter(1)]), tmp_path / "unregistered")
    assert not list(tmp_path.iterdir())


class TestSaved:
    @pytest.fixture
    def folder(self, folders, tmp_path) -> Path:
        save_detector(create_detector("ensemble", members=folders[:2], measure="msp"), tmp_path / "saved")
        return tmp_path / "saved"

    def test_what_is_written(self, folder):
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        assert files == [
            "detector.json",
            *(f"networks/member{i}/{name}" for i in range(2) for name in ("model.safetensors", "segmenter.json")),
        ]
        content = json.loads((folder / "detector.json").read_text())
        assert content["segmenter"] is None
        weights = folder / "networks" / "member1" / "model.safetensors"
        assert content["networks"]["member1"]["model.safetensors"] == sha256_of_file(weights)
        assert [path.name for path in folder.parent.iterdir()] == ["saved"]

    def test_it_scores_the_same_without_the_members_own_folders(self, folder, folders, tmp_path):
        before = create_detector("ensemble", members=folders[:2], measure="msp")
        expected = anomaly_maps(before, hosted(before))[0]
        content = json.loads((folder / "detector.json").read_text())
        content["parameters"]["members"] = [str(tmp_path / "gone"), str(tmp_path / "gone2")]
        (folder / "detector.json").write_text(json.dumps(content))
        loaded = load_detector(folder)
        assert loaded.forward_passes == 2
        assert torch.equal(anomaly_maps(loaded, hosted(loaded))[0], expected)

    @pytest.mark.parametrize("file", ["model.safetensors", "segmenter.json"])
    def test_changed_or_missing_files(self, folder, file):
        path = folder / "networks" / "member1" / file
        path.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(DataError, match=f"member1/{file} is damaged"):
            load_detector(folder)
        path.unlink()
        with pytest.raises(DataError, match=f"member1/{file} is missing"):
            load_detector(folder)

    @pytest.mark.parametrize("networks", [{}, {"member0": None}, {"../../etc": {}}, [], {"member0": {"a": "b"}}])
    def test_a_file_that_names_other_networks_reads_none(self, folder, networks):
        content = json.loads((folder / "detector.json").read_text())
        content["networks"] = networks
        (folder / "detector.json").write_text(json.dumps(content))
        with pytest.raises((DataError, CompatibilityError), match="networks"):
            load_detector(folder)

    def test_a_member_left_out(self, folder):
        content = json.loads((folder / "detector.json").read_text())
        del content["networks"]["member0"]
        shutil.rmtree(folder / "networks" / "member0")
        (folder / "detector.json").write_text(json.dumps(content))
        with pytest.raises(CompatibilityError, match="member0, member1"):
            load_detector(folder)

    def test_a_detector_without_networks_refuses_them(self, folder):
        content = json.loads((folder / "detector.json").read_text())
        content |= {"detector": "energy", "parameters": {}}
        (folder / "detector.json").write_text(json.dumps(content))
        with pytest.raises(CompatibilityError, match="energy carries no networks"):
            load_detector(folder)


def test_logits_brought_to_size_are_shared_with_other_detectors(folders, monkeypatch):
    detector = create_detector("ensemble", members="+".join(folders[:2]))
    scene = hosted(detector)
    sizes = []
    upsample = SegmentationOutput.upsample
    monkeypatch.setattr(
        SegmentationOutput, "upsample", lambda self, maps, size: sizes.append(size) or upsample(self, maps, size)
    )
    anomaly_maps(create_detector("msp"), scene)
    anomaly_maps(detector, scene)
    assert sizes == [(45, 61)] * 2  # the host's once for both, the other member's
