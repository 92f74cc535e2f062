"""Frames with pasted objects and inliers: what the pixels, maps and manifest say, and that they can be made again."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from pasted_tree import CAR, SIZE, camvid, coco, objects, read
from PIL import Image

from anomseg.data import load_frames, verify
from anomseg.data.pasted import build_pasted, control_map, has_control, paste_options, read_manifest, rebuild_pasted
from anomseg.errors import ConfigError, DataError, FrameError

SMALL = {"classes": ["car"], "min_pixels": 200, "apart": 2, "area": [0.02, 0.1]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return coco(tmp_path_factory.mktemp("coco"))


@pytest.fixture(scope="module")
def built(base, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "pasted"
    return out, build_pasted("camvid", base, out, objects(photos), paste_options(**SMALL))


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_maps_say_what_was_pasted_and_nothing_else_changes(built, base):
    out, manifest = built
    assert len(manifest.frames) == 12
    assert not manifest.skipped
    originals = {frame.id: frame for frame in load_frames("camvid", base, "test")}
    for frame in manifest.frames:
        original, classes_before = originals[frame.id].image(), originals[frame.id].classes
        image, label, classes, control = (
            read(out / part / f"{frame.id}.png") for part in ("images", "labels_masks", "classes", "control")
        )
        counts = {paste.kind: paste for paste in frame.pastes}
        assert set(counts) == {"object", "inlier"}
        assert (label == 1).sum() == counts["object"].pixels
        assert (control == 1).sum() == counts["inlier"].pixels
        assert (classes[label == 1] == 255).all()
        assert (classes[control == 1] == CAR).all()
        assert (label[control == 1] == 0).all()
        untouched = (label != 1) & (control == 0)
        assert (classes[untouched] == classes_before[untouched]).all()
        assert (label[untouched] == np.where(classes_before == 255, 255, 0)[untouched]).all()
        # Smoothing reaches one pixel beyond what is pasted, no further.
        padded = np.pad(~untouched, 1)
        near = np.zeros(SIZE, bool)
        for row in range(3):
            for column in range(3):
                near |= padded[row : row + SIZE[0], column : column + SIZE[1]]
        assert (image[~near] == original[~near]).all()
        share = counts["object"].pixels / (SIZE[0] * SIZE[1])
        assert counts["object"].share == pytest.approx(share, abs=1e-6)
        assert 0.02 * 0.9 < share <= 0.1 / 0.9


def test_objects_are_complete_and_of_the_categories_and_the_half_asked_for(built):
    pastes = [paste for frame in built[1].frames for paste in frame.pastes if paste.kind == "object"]
    # The cat touches the border of its image, the cup is no animal, and image 14 is of the half that trains.
    assert {(paste.source[-2:], paste.category) for paste in pastes} == {("11", "dog"), ("13", "dog")}


def test_inliers_come_from_another_frame_of_the_sequence_and_stay_in_their_place(built, base):
    order = [frame.id for frame in load_frames("camvid", base, "test")]
    for frame in built[1].frames:
        paste = next(paste for paste in frame.pastes if paste.kind == "inlier")
        assert paste.source.partition("_")[0] == frame.id.partition("_")[0]
        assert abs(order.index(paste.source) - order.index(frame.id)) >= 2
        assert paste.place == paste.box[:2]
        assert paste.size == (paste.box[2] - paste.box[0], paste.box[3] - paste.box[1])


def test_a_lone_frame_of_a_sequence_takes_inliers_of_others(tmp_path):
    camvid(tmp_path / "base", 1)
    manifest = build_pasted("camvid", tmp_path / "base", tmp_path / "out", (), paste_options("control", **SMALL))
    assert {(frame.id, paste.source) for frame in manifest.frames for paste in frame.pastes} == {
        ("0001TP_000000", "Seq05VD_000000"),
        ("Seq05VD_000000", "0001TP_000000"),
    }


def test_a_folder_is_made_again_bit_equal_from_its_manifest_and_from_its_seed(built, base, photos, tmp_path):
    again = rebuild_pasted(built[0], base, tmp_path / "again", objects(photos, None))
    assert again == built[1]
    assert files(tmp_path / "again") == files(built[0])
    build_pasted("camvid", base, tmp_path / "seed", objects(photos), paste_options(**SMALL))
    assert files(tmp_path / "seed") == files(built[0])
    build_pasted("camvid", base, tmp_path / "other", objects(photos), paste_options(**SMALL, seed=1))
    assert files(tmp_path / "other") != files(built[0])


def test_a_frame_does_not_depend_on_which_others_are_pasted_on(built, base, photos, tmp_path):
    manifest = build_pasted("camvid", base, tmp_path / "few", objects(photos), paste_options(**SMALL), limit=3)
    assert manifest.frames == built[1].frames[:3]


def test_other_pixels_of_a_source_or_frame_are_refused(built, base, photos, tmp_path):
    for name in ("image", "frame"):
        moved = tmp_path / name
        (camvid if name == "frame" else coco)(moved)
        victim = next(iter(sorted(moved.rglob(f"{built[1].frames[0].id}.png" if name == "frame" else "*11.jpg"))))
        array = read(victim).copy()
        array[0, 0] ^= 128
        Image.fromarray(array).save(victim)
        roots = (moved, photos) if name == "frame" else (base, moved)
        with pytest.raises(DataError, match="other pixels"):
            rebuild_pasted(built[0], roots[0], tmp_path / f"out-{name}", objects(roots[1]))
    with pytest.raises(DataError, match="not among the negatives"):
        rebuild_pasted(built[0], base, tmp_path / "none", ())


def test_the_recipe_of_wd_pascal_keeps_pixels_and_covers_more_than_its_share(base, photos, tmp_path):
    options = paste_options("wd_pascal", blending="hard")
    assert options.categories == ("bird", "cat", "cow", "dog", "horse", "sheep")
    manifest = build_pasted("camvid", base, tmp_path / "wd", objects(photos, None), options)
    sources = {negative.id: negative for negative in objects(photos, None)}
    shown = set()
    for frame in manifest.frames:
        (paste,) = frame.pastes
        shown.add(paste.category)
        top, left, bottom, right = paste.box
        assert paste.size == (bottom - top, right - left)
        assert paste.pixels > 0.007 * SIZE[0] * SIZE[1]
        image, label = (read(tmp_path / "wd" / part / f"{frame.id}.png") for part in ("images", "labels_masks"))
        region = sources[paste.source].regions()[paste.region]
        mask = region.mask[top:bottom, left:right]
        window = (
            slice(paste.place[0], paste.place[0] + mask.shape[0]),
            slice(paste.place[1], paste.place[1] + mask.shape[1]),
        )
        assert (image[window][mask] == sources[paste.source].image()[top:bottom, left:right][mask]).all()
        assert (label == 1).sum() == mask.sum()
    assert shown == {"cat", "dog"}


def test_matched_colours_lie_between_those_of_object_and_frame(base, photos, tmp_path):
    means = {}
    for blending in ("hard", "matched"):
        options = paste_options(**SMALL, inliers=0, blending=blending)
        manifest = build_pasted("camvid", base, tmp_path / blending, objects(photos), options)
        means[blending] = [
            read(tmp_path / blending / "images" / f"{one.id}.png")[
                read(tmp_path / blending / "labels_masks" / f"{one.id}.png") == 1
            ].mean()
            for one in manifest.frames
        ]
    frame = 80  # about the mean of the frames; the dogs are brighter
    assert all(frame < matched < hard for matched, hard in zip(means["matched"], means["hard"], strict=True))


def test_rectangles_cover_the_whole_box(base, photos, tmp_path):
    options = paste_options(**SMALL, inliers=0, shape="rectangle")
    for frame in build_pasted("camvid", base, tmp_path / "out", objects(photos), options).frames:
        label = read(tmp_path / "out" / "labels_masks" / f"{frame.id}.png")
        (paste,) = frame.pastes
        assert (label == 1).sum() == paste.size[0] * paste.size[1]


def test_the_benchmark_reads_what_was_built(built):
    out, manifest = built
    frames = load_frames("pasted", out)
    assert [frame.id for frame in frames] == [frame.id for frame in manifest.frames]
    first = frames[0]
    assert first.group == "0001TP"
    assert set(np.unique(first.label)) == {0, 1, 255}
    assert has_control(first)
    assert (control_map(first) == 1).sum() == manifest.frames[0].pastes[1].pixels
    assert first.classes.max() == 255
    assert verify("pasted", out).ok
    with pytest.raises(DataError, match="pasted:base=camvid"):
        load_frames("pasted:base=idd_lite", out)
    with pytest.raises(ConfigError, match="anomaly labels"):
        load_frames("pasted", out, held_out="car")


def test_verify_names_damage_of_the_maps_beside_the_label(base, tmp_path):
    out = tmp_path / "out"
    build_pasted("camvid", base, out, (), paste_options("control", **SMALL), limit=3)
    names = sorted(path.name for path in (out / "control").iterdir())
    (out / "control" / names[0]).unlink()
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(out / "control" / names[1])
    Image.fromarray(np.full((4, 4), 3, np.uint8)).save(out / "classes" / names[2])
    report = verify("pasted", out)
    assert any("control map" in text for text in report.of("missing"))
    assert any(names[1] in text for text in report.of("value"))
    assert any(names[2] in text for text in report.of("size"))
    with pytest.raises(FrameError):
        control_map(load_frames("pasted", out)[1])


def test_what_cannot_be_pasted_is_said(base, photos, tmp_path):
    negatives = objects(photos)
    cases = [
        (ConfigError, "did you mean 'sized'", lambda: paste_options("size")),
        (ConfigError, "area", lambda: paste_options(area=[0.2, 0.1])),
        (ConfigError, "blending", lambda: paste_options(blending="soft")),
        (ConfigError, "1 to 100", lambda: paste_options(objects=0, inliers=0)),
        (DataError, "zebra", lambda: build("zebra", categories=["zebra"])),
        (DataError, "widen --area", lambda: build("huge", inliers=0, area=[0.9, 0.95])),
        (ConfigError, "tram", lambda: build("tram", classes=["tram"])),
    ]

    def build(name, **changes):
        return build_pasted("camvid", base, tmp_path / name, negatives, paste_options(**{**SMALL, **changes}))

    for kind, text, call in cases:
        with pytest.raises(kind, match=text) as caught:
            call()
        assert "\n" not in str(caught.value)
    build("full")
    with pytest.raises(DataError, match="not empty"):
        build("full")


def test_an_unreadable_negative_is_named_and_another_one_drawn(base, photos, tmp_path):
    root = coco(tmp_path / "coco")
    next(root.glob("train2017/*11.jpg")).write_bytes(b"\xff\xd8\xffnothing")
    manifest = build_pasted("camvid", base, tmp_path / "out", objects(root), paste_options(**SMALL))
    assert len(manifest.frames) == 12
    assert list(manifest.negatives["unreadable"]) == ["000000000011"]
    assert {paste.source for frame in manifest.frames for paste in frame.pastes if paste.kind == "object"} == {
        "000000000013"
    }


def tampered(built, folder, change):
    tree = json.loads((built[0] / "manifest.json").read_text())
    change(tree)
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(tree))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["frames"][0].update(id="../../evil"),
        lambda tree: tree["frames"][0].update(id="/etc/evil"),
        lambda tree: tree["frames"][0].update(id="..\\evil"),
        lambda tree: tree["frames"][0].update(id=".hidden"),
        lambda tree: tree["frames"][0].update(id=""),
        lambda tree: tree["frames"][0].update(id=7),
        lambda tree: tree["frames"][0].update(id=tree["frames"][1]["id"]),
        lambda tree: tree["frames"][0]["pastes"][0].update(place=[-1, 0]),
        lambda tree: tree["frames"][0]["pastes"][0].update(size=[10**9, 10**9]),
        lambda tree: tree["frames"][0]["pastes"][0].update(box=[5, 5, 5, 9]),
        lambda tree: tree["frames"][0]["pastes"][0].update(box=[5, 5]),
        lambda tree: tree["frames"][0]["pastes"][0].update(region=-1),
        lambda tree: tree["frames"][0]["pastes"][0].update(kind="thing"),
        lambda tree: tree["frames"][0]["pastes"][0].update(blending="soft"),
        lambda tree: tree["frames"][0]["pastes"][0].update(sha256="short"),
        lambda tree: tree["frames"][0]["pastes"][0].pop("place"),
        lambda tree: tree["options"].update(colour="red"),
        lambda tree: tree.update(schema=2),
        lambda tree: tree.update(kind="else"),
        lambda tree: tree.update(frames={}),
    ],
)
def test_a_manifest_is_not_trusted(built, base, photos, tmp_path, change):
    folder = tampered(built, tmp_path / "bad", change)
    with pytest.raises(DataError) as caught:
        rebuild_pasted(folder, base, tmp_path / "out", objects(photos))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_place_outside_of_the_frame_or_another_region_is_refused(built, base, photos, tmp_path):
    for name, change in (("place", {"place": [59, 79]}), ("region", {"region": 40})):
        folder = tampered(built, tmp_path / name, lambda tree, c=change: tree["frames"][0]["pastes"][0].update(c))
        with pytest.raises(DataError, match="not the one"):
            rebuild_pasted(folder, base, tmp_path / f"out-{name}", objects(photos))


def test_what_is_no_manifest_says_how_to_get_one(tmp_path):
    (tmp_path / "manifest.json").write_text("[1")
    with pytest.raises(DataError, match="JSON"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match="anomseg data paste"):
        read_manifest(tmp_path / "nowhere")


def test_the_manifest_survives_its_file(built):
    assert read_manifest(built[0]) == built[1]
    assert json.loads(json.dumps(asdict(built[1])))["options"]["seed"] == 0
