"""Generated scenes: labels that fit the picture, the same for ever from one seed, any size."""

import hashlib
import subprocess
import sys
import warnings

import numpy as np
import pytest

from anomseg.data.generated import CLASS_NAMES, OBJECT_KINDS, generate_scene
from anomseg.errors import ConfigError

SIZE = (180, 240)
ROAD, SKY = CLASS_NAMES.index("road"), CLASS_NAMES.index("sky")


@pytest.fixture(scope="module")
def scenes():
    """Twenty scenes with one odd object each, drawn without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [generate_scene(seed, SIZE) for seed in range(20)]


def test_classes_and_label_agree_at_every_pixel(scenes):
    for scene in scenes:
        assert scene.image.shape == (*SIZE, 3)
        assert scene.image.dtype == scene.classes.dtype == scene.label.dtype == np.uint8
        odd = scene.label == 1
        assert set(np.unique(scene.label)) == {0, 1}
        assert (scene.classes[odd] == 255).all()
        assert (scene.classes[~odd] < len(CLASS_NAMES)).all()


def test_odd_objects_cover_a_sensible_share_and_lie_in_their_boxes(scenes):
    shares = [scene.label.mean() for scene in scenes]
    assert min(shares) >= 0.003
    assert max(shares) <= 0.15
    for scene in scenes:
        ((kind, (left, top, right, bottom)),) = scene.objects
        assert kind in OBJECT_KINDS
        outside = scene.label.copy()
        outside[top:bottom, left:right] = 0
        assert not outside.any()
        inside = scene.label[top:bottom, left:right]
        assert inside.any(1)[[0, -1]].all()
        assert inside.any(0)[[0, -1]].all()


def test_odd_objects_look_different_from_what_stood_there_before(scenes):
    clean = generate_scene(3, SIZE, objects=0)
    odd = scenes[3].label == 1
    changed = np.abs(clean.image.astype(int) - scenes[3].image.astype(int)).mean(-1)
    assert changed[odd].mean() > 4 * changed[: clean.classes.shape[0] // 4].mean()


def test_all_eleven_classes_occur(scenes):
    seen = np.unique(np.concatenate([np.unique(scene.classes) for scene in scenes]))
    assert set(range(11)) <= set(seen.tolist())


def test_the_view_is_one_from_behind_a_windscreen(scenes):
    for scene in scenes:
        bottom = scene.classes[-10:, 100:140]
        assert np.isin(bottom, (ROAD, 255)).mean() > 0.95
        assert not (scene.classes[130:] == SKY).any()
    top = np.concatenate([scene.classes[:10].ravel() for scene in scenes])
    assert (top == SKY).mean() > 0.25
    # A street seen with a level camera: nothing of the road lies above the horizon, and nearer rows show more of it.
    road = np.mean([(scene.classes == ROAD).mean(1) for scene in scenes], 0)
    assert road[:70].max() == 0
    assert road[170] > road[130] > road[102]


def test_colours_are_those_of_a_daylight_photograph(scenes):
    image = np.stack([scene.image for scene in scenes])
    classes = np.stack([scene.classes for scene in scenes])
    sky, road = image[classes == SKY].mean(), image[classes == ROAD].mean()
    assert sky > 170
    assert 45 < road < 125
    # Asphalt has grain: neighbouring pixels differ, but not by much.
    step = np.abs(np.diff(image[..., 1].astype(int), axis=2))[(classes == ROAD)[..., 1:]]
    assert 1 < step.mean() < 15


def test_a_clean_scene_has_no_anomaly_and_shows_the_same_street(scenes):
    clean = generate_scene(5, SIZE, objects=0)
    assert clean.objects == ()
    assert not clean.label.any()
    assert clean.classes.max() < len(CLASS_NAMES)
    same = clean.classes == scenes[5].classes
    assert same.mean() > 0.75
    assert generate_scene(6, SIZE, objects=0).classes.tobytes() != clean.classes.tobytes()


def test_the_same_seed_gives_the_same_bytes_in_another_process(scenes):
    code = (
        "import hashlib; from anomseg.data.generated import generate_scene\n"
        "generate_scene(11, size=(80, 100))\n"
        "scene = generate_scene(4, size=(180, 240))\n"
        "print(hashlib.sha256(scene.image.tobytes() + scene.classes.tobytes() + scene.label.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    scene = scenes[4]
    here = hashlib.sha256(scene.image.tobytes() + scene.classes.tobytes() + scene.label.tobytes()).hexdigest()
    assert other == here


def test_numpys_global_generator_is_neither_used_nor_touched():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = generate_scene(9, size=(64, 64))
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(2)
    assert (generate_scene(9, size=(64, 64)).image == first.image).all()


@pytest.mark.parametrize("size", [(64, 64), (65, 131), (227, 320), (400, 97), (401, 640)])
def test_any_size_is_drawn(size):
    scene = generate_scene(1, size=size, objects=2)
    assert scene.image.shape == (*size, 3)
    assert scene.classes.shape == scene.label.shape == size
    assert (scene.label == 1).any()
    assert ((scene.classes == 255) == (scene.label == 1)).all()


@pytest.mark.parametrize("kind", OBJECT_KINDS)
def test_each_kind_can_be_asked_for(kind):
    scene = generate_scene(2, size=(96, 128), kinds=[kind])
    assert [name for name, _ in scene.objects] == [kind]
    assert 0.002 < scene.label.mean() < 0.15


def test_the_number_of_objects_is_kept_and_none_means_some():
    assert len(generate_scene(8, size=(120, 160), objects=3).objects) == 3
    assert 1 <= len(generate_scene(8, size=(120, 160), objects=None).objects) <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "negative"),
        ({"seed": 0, "size": (63, 80)}, "at least 64"),
        ({"seed": 0, "objects": 4}, "0 to 3"),
        ({"seed": 0, "kinds": ["caw"]}, "did you mean 'cow'"),
    ],
)
def test_bad_arguments_are_told_in_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        generate_scene(**arguments)
    assert "\n" not in str(caught.value)
