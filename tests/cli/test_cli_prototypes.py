"""What lies nearest to each prototype: against a search of everything, and from the command line."""

import csv
import io

import numpy as np
import pytest
import torch
from PIL import Image

from anomseg.cli.main import run
from anomseg.data import label_space, load_frames
from anomseg.detectors import save_detector
from anomseg.detectors.pans import PAnS
from anomseg.detectors.prototypes import ClassPrototypes, PrototypeDetector
from anomseg.errors import DataError, FrameError
from anomseg.registry import SEGMENTERS
from anomseg.report.prototype_patches import find_patches
from anomseg.report.prototype_sheet import prototype_sheet, summary_lines
from anomseg.segmenters import make_scene, save_segmenter
from anomseg.types import Frame

CAMVID = label_space("camvid")


def network_of(classifier="cosine"):
    torch.manual_seed(0)
    options = {"classes": CAMVID.names, "palette": CAMVID.palette, "size": (45, 60), "bottleneck": 16}
    return SEGMENTERS.create("erfnet_pyramid", **options, classifier=classifier).eval()


@pytest.fixture
def camvid(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(5):
        image = rng.integers(0, 255, (90, 120, 3), np.uint8)
        image[:40] = image[:40] // 4 + 40 * index
        label = np.zeros((90, 120), np.uint8)
        label[40:] = 3
        label[:, 100:] = 255
        for folder, array in (("images", image), ("labels", label)):
            path = tmp_path / "camvid" / folder / "train" / f"0001TP_{index:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return tmp_path / "camvid"


@pytest.fixture
def frames(camvid):
    return load_frames("camvid", root=camvid, split="train")


def everything(network, frames):
    """Similarity of every prototype at each cell that is inside the image and not void, with frame and class."""
    found = []
    for frame in frames:
        scene = make_scene([frame.image()], [frame.id], network)
        with torch.inference_mode():
            cosines = scene.output.logits[0] / 10
        for row in range(45 // 8):
            for column in range(60 // 8):  # the last cells reach into the padding
                y, x = int((row + 0.5) * 16), int((column + 0.5) * 16)
                if frame.classes[y, x] != 255:
                    found.append((cosines[:, row, column], frame.id, x, y, CAMVID.names[frame.classes[y, x]]))
    return found


def test_patches_are_those_of_a_search_of_everything(frames):
    network = network_of()
    prototypes = ClassPrototypes(network)
    assert isinstance(prototypes, PrototypeDetector)
    assert isinstance(PAnS.of(network), PrototypeDetector)
    view = find_patches(prototypes, network, iter(frames), count=3, side=32)
    cells = everything(network, frames)
    for index, patches in enumerate(view.patches):
        best = {}
        for cosines, frame, x, y, label in cells:
            best[frame] = max(best.get(frame, (-2.0,)), (cosines[index].item(), x, y, label))
        wanted = sorted(((*place, frame) for frame, place in best.items()), reverse=True)[:3]
        assert [patch.frame for patch in patches] == [place[4] for place in wanted]
        assert [(patch.x, patch.y, patch.label) for patch in patches] == [place[1:4] for place in wanted]
        assert [patch.similarity for patch in patches] == pytest.approx([place[0] for place in wanted])
    nearest = torch.stack([cosines for cosines, *_ in cells]).max(1)
    assert view.nearest.tolist() == torch.bincount(nearest.indices, minlength=11).tolist()
    assert view.total.sum().item() == pytest.approx(nearest.values.sum().item(), rel=1e-5)


def test_a_patch_shows_what_is_around_it(frames):
    network = network_of()
    view = find_patches(ClassPrototypes(network), network, frames, count=5, side=32)
    images = {frame.id: frame.image() for frame in frames}
    for patch in (patch for patches in view.patches for patch in patches):
        left, top, right, bottom = patch.cell
        x, y = int((left + right) / 2), int((top + bottom) / 2)
        assert patch.picture.shape == (32, 32, 3)
        assert np.array_equal(patch.picture[y, x], images[patch.frame][patch.y, patch.x])


def test_frames_without_labels_and_unreadable_ones(frames):
    network = network_of()
    plain = [Frame(frame.id, frame.image) for frame in frames]

    def broken():
        raise FrameError("cut off")

    told = []
    view = find_patches(
        ClassPrototypes(network), network, [*plain, Frame("b", broken)], count=2, progress=lambda *a: told.append(a)
    )
    assert {patch.label for patches in view.patches for patch in patches} == {None}
    assert max(len(patches) for patches in view.patches) == 2
    assert (view.frames, view.skipped, len(told)) == (5, ["b"], 6)
    with pytest.raises(DataError, match="no frame could be looked at"):
        find_patches(ClassPrototypes(network), network, [])


def test_a_single_prototype_has_no_closest_other():
    torch.manual_seed(0)
    network = SEGMENTERS.create("erfnet_pyramid", classes=["road"], bottleneck=8, size=None, classifier="cosine")
    image = np.full((20, 30, 3), 90, np.uint8)
    view = find_patches(ClassPrototypes(network), network, [Frame("a", lambda: image)], side=64)
    assert view.closest_other(0) is None
    assert summary_lines(view)[1].endswith("-")
    picture = Image.open(io.BytesIO(prototype_sheet(view, "one")))
    assert picture.width > 300


def test_the_command_for_a_detector_and_for_a_network(camvid, tmp_path, capsys):
    save_detector(PAnS.of(network_of()), tmp_path / "pans")
    data = f"camvid={camvid}@train"
    for name, what in (("a", "pans"), ("b", "pans/networks/network"), ("c", "pans")):
        limit = ["--limit", "2"] if name == "c" else []
        asked = ["prototypes", str(tmp_path / what), "--data", data, "--out", str(tmp_path / name), "--count", "4"]
        assert run([*asked, *limit]) == 0
        assert "closest other" in capsys.readouterr().out
    for file in ("patches.csv", "similarities.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    rows = list(csv.DictReader((tmp_path / "a" / "patches.csv").open()))
    assert len(rows) == 11 * 4
    assert {row["class"] for row in rows} <= {"sky", "road"}
    assert len(list(csv.DictReader((tmp_path / "c" / "patches.csv").open()))) == 11 * 2
    table = list(csv.reader((tmp_path / "a" / "similarities.csv").open()))
    assert table[0] == ["prototype", *CAMVID.names]
    values = np.array([row[1:] for row in table[1:]], float)
    assert np.allclose(values, values.T)
    assert np.allclose(np.diag(values), 1, atol=1e-5)
    assert Image.open(tmp_path / "a" / "prototypes.png").height > 11 * 96


def test_what_has_no_prototypes_is_refused(camvid, tmp_path, capsys):
    save_segmenter(network_of("linear"), tmp_path / "linear")
    rest = ["--data", f"camvid={camvid}", "--out", str(tmp_path / "x")]
    for what, said in (
        (str(tmp_path / "linear"), "no class prototypes"),
        ("energy", "compares with no prototypes"),
        ("pans", "no network"),
        ("energy,msp", "one detector or network at a time"),
        ("erfnet_pyramid", "no weights of its own"),
        ("./nowhere", "no directory"),
    ):
        assert run(["prototypes", what, *rest]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()
