"""What every registered detector keeps to; the next one to be registered is tested here without a new line."""

import atexit
import copy
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import CLASSES, TinySegmenter, made_frames, scene_of, scene_with_logits

from anomseg.detectors import (
    Detector,
    anomaly_maps,
    create_detector,
    detector_names,
    load_detector,
    resolve_detector,
    save_detector,
)
from anomseg.detectors.dicnet import DiCNet, target_from_norm
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.registry import DETECTORS, SEGMENTERS, Spec, option_names
from anomseg.segmenters import save_segmenter
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.scene import Scene
from anomseg.types import Frame, Needs

# What a training stage makes is tested with that stage.
NAMES = [name for name in detector_names() if name not in detector_names("trained")]
WITH_NETWORK = [name for name in NAMES if name not in detector_names("no-network")]
FITTABLE = detector_names("fitted") + detector_names("fittable")
every_detector = pytest.mark.parametrize("name", NAMES)
# What reads features, masks or other heads is judged by tests of its own wherever the logits alone are made up here.
ON_LOGITS = [name for name in WITH_NETWORK if not DETECTORS.get(name).tags & {"features", "masks", "network-option"}]
every_network_detector = pytest.mark.parametrize("name", WITH_NETWORK)
every_logit_detector = pytest.mark.parametrize("name", ON_LOGITS)
every_fittable_detector = pytest.mark.parametrize("name", FITTABLE)


def new(name: str, **options) -> Detector:
    """A detector as it comes; what cannot do without networks of its own gets small ones."""
    given = {"ensemble": lambda: {"members": members()}, "pans": lambda: {"network": prototype_network()}}
    given["noisy_negatives"] = lambda: {"network": two_head_network()}
    given["synthetic_outliers"] = lambda: {"network": members()[0]}
    return create_detector(name, **{**given.get(name, dict)(), **options})


@functools.cache
def members() -> list[str]:
    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        network = SEGMENTERS.create("pyramid", classes=CLASSES, widths=(4, 6, 8, 8), bottleneck=6)
        folders.append(tempfile.mkdtemp(prefix="anomseg-member-"))
        atexit.register(shutil.rmtree, folders[-1], ignore_errors=True)
        save_segmenter(network.eval(), folders[-1])
    return folders


@functools.cache
def prototype_network() -> str:
    torch.manual_seed(0)
    network = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=None, bottleneck=8, classifier="cosine")
    folder = tempfile.mkdtemp(prefix="anomseg-prototypes-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_segmenter(network.eval(), folder)
    return folder


@functools.cache
def two_head_network() -> str:
    torch.manual_seed(0)
    options = {"widths": (4, 6, 8, 8), "bottleneck": 6, "outlier_layers": ("decoder4",)}
    folder = tempfile.mkdtemp(prefix="anomseg-two-heads-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_segmenter(SEGMENTERS.create("pyramid", classes=CLASSES, size=None, **options).eval(), folder)
    return folder


def trained_dicnet() -> DiCNet:
    """A teacher, and a student that has not learned much."""
    torch.manual_seed(0)
    teacher = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=None, bottleneck=8)
    student = SEGMENTERS.create("student", channels=8, encoder="pyramid", width=4, branch=8)
    feature = "bottleneck_linear"
    return DiCNet.of(teacher.eval(), student, feature, target_from_norm(teacher.feature_norm(feature), "standardized"))


def frames_for(name: str, count: int = 4) -> list[Frame]:
    return made_frames(count, classes="labels" in DETECTORS.get(name).tags)


def ready(name: str, segmenter: TinySegmenter) -> Detector:
    if name == "dicnet":
        return trained_dicnet()
    detector = new(name)
    return detector.fit(segmenter, frames_for(name)) if name in FITTABLE else detector


@pytest.fixture(scope="module")
def segmenter() -> TinySegmenter:
    return TinySegmenter()


@pytest.fixture(scope="module")
def detectors(segmenter) -> dict[str, Detector]:
    return {name: ready(name, segmenter) for name in NAMES}


def test_the_names_promised():
    assert {"msp", "max_logit", "entropy", "energy", "sml"} <= set(NAMES)
    assert {"chance", "position_prior", "local_contrast", "not_road"} <= set(detector_names("control"))


@every_detector
def test_entry_and_options(name):
    entry = DETECTORS.get(name)
    detector = new(name)
    assert detector.registry_name == name
    assert type(detector) is entry.factory
    assert entry.summary
    assert "\n" not in entry.summary
    assert ("fitted" in entry.tags) == detector.needs_fit
    assert ("bounded" in entry.tags) == detector.bounded
    assert detector.fitted_on is None
    assert detector.state() == {}


@every_detector
def test_constructor_stores_its_arguments(name):
    detector = new(name)
    parameters = detector.get_params()
    assert list(parameters) == option_names(type(detector))
    assert new(name, **parameters).get_params() == parameters
    assert json.loads(json.dumps(parameters)) == parameters
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in parameters.items()}
    assert DETECTORS.create_from(Spec(name, None, texts)).get_params() == parameters
    assert all(key in repr(detector) for key in parameters)
    json.dumps(detector.card())
    with pytest.raises(ConfigError, match="option"):
        new(name, no_such_option=1)


@every_detector
def test_needs_are_answered_before_any_work(name, segmenter):
    before = segmenter.passes
    needs = new(name).needs(segmenter)
    assert isinstance(needs, Needs)
    assert new(name).needs(None) is not None
    assert set(needs.features) <= set(segmenter.feature_info)
    assert segmenter.passes == before
    assert needs.forward == (name in WITH_NETWORK)


@pytest.mark.parametrize("name", detector_names("no-network"))
def test_controls_without_network_never_run_one(name, segmenter, detectors):
    before = segmenter.passes
    with_network = anomaly_maps(detectors[name], scene_of(segmenter))
    assert segmenter.passes == before
    assert detectors[name].flags.forward_passes == 0
    without = anomaly_maps(detectors[name], scene_of(None))
    torch.testing.assert_close(with_network, without)


@every_detector
@pytest.mark.parametrize("size", [(45, 61), (8, 8), (1, 1), (33, 7), (70, 50)])
def test_maps_have_the_size_of_the_image(name, size, segmenter, detectors):
    scene = scene_of(segmenter, [size, size])
    with torch.inference_mode():
        score = detectors[name].score(scene)
    assert score.shape == (2, *size)
    assert score.dtype == torch.float32
    assert score.isfinite().all()
    if detectors[name].bounded:
        assert score.min() >= 0
        assert score.max() <= 1


@every_detector
def test_mixed_sizes_come_back_in_order(name, detectors):
    segmenter = TinySegmenter(size=(40, 52))
    sizes = [(45, 61), (30, 20), (45, 61), (90, 33)]
    before = segmenter.passes
    maps = anomaly_maps(detectors[name], scene_of(segmenter, sizes))
    assert [tuple(score.shape) for score in maps] == sizes
    passes = detectors[name].forward_passes
    assert segmenter.passes - before <= (1 if passes <= 1 else passes * len(sizes))
    for row, (size, score) in enumerate(zip(sizes, maps, strict=True)):
        alone = anomaly_maps(detectors[name], scene_of(segmenter, [size], start=row))[0]
        torch.testing.assert_close(score, alone, atol=1e-4, rtol=1e-4)


@every_detector
def test_a_batch_equals_its_images_one_by_one(name, segmenter, detectors):
    batch = scene_of(segmenter, [(45, 61)] * 3)
    together = anomaly_maps(detectors[name], batch)
    for row in range(3):
        alone = Scene(
            batch.images[row : row + 1],
            [batch.frame_ids[row]],
            [(45, 61)],
            segmenter,
            input_size=batch.input_size,
            output=batch.output.select([row]),
        )
        score = anomaly_maps(detectors[name], alone)[0]
        # Other batch sizes are rounded otherwise: by a few bits where threads share a map, by more in further passes.
        tolerance = 1e-4 if detectors[name].forward_passes > 1 else 1e-5
        torch.testing.assert_close(score, together[row], atol=tolerance, rtol=tolerance)


@every_detector
def test_deterministic_and_order_free(name, segmenter, detectors):
    first = anomaly_maps(detectors[name], scene_of(segmenter))[0]
    torch.manual_seed(99)
    anomaly_maps(detectors[name], scene_of(segmenter, [(20, 20)], start=5))
    assert torch.equal(first, anomaly_maps(detectors[name], scene_of(segmenter))[0])


@every_logit_detector
def test_higher_is_more_anomalous(name, detectors):
    logits = torch.zeros(1, len(CLASSES), 40, 80)
    logits[:, 1] = 0.1
    logits[:, 1, :, :40] = 25.0  # certainly road on the left, undecided on the right
    score = anomaly_maps(detectors[name], scene_with_logits(logits))[0]
    assert score[:, :20].max() < score[:, 60:].min()


@every_logit_detector
def test_no_image_is_stretched_to_a_range_of_its_own(name, detectors):
    """Per-image min-max, as in DiCNet's and SynBoost's code, would make pooled figures meaningless."""
    sure, unsure = torch.zeros(2, 1, len(CLASSES), 24, 32)
    sure[:, 1], unsure[:, 1] = 20.0, 0.5
    ripple = torch.linspace(0, 0.1, 32)
    low = anomaly_maps(detectors[name], scene_with_logits(sure + 0))[0]
    sure[:, 1] += ripple
    unsure[:, 1] += ripple
    low = torch.stack([low, anomaly_maps(detectors[name], scene_with_logits(sure))[0]])
    high = anomaly_maps(detectors[name], scene_with_logits(unsure))[0]
    assert low.max() < high.min()


@pytest.mark.parametrize("name", [name for name in WITH_NETWORK if "void" not in DETECTORS.get(name).tags])
def test_a_void_output_is_not_among_the_logits(name, segmenter, detectors):
    """PEBAL's score reads 19 of 20 logits; here the twentieth is not in the tensor to begin with."""
    scene = scene_of(segmenter)
    output = scene.output
    assert output.logits.shape[1] == len(CLASSES)
    other = SegmentationOutput(**{**vars(output), "void_logits": output.void_logits * 0 + 1e3})
    same = Scene(scene.images, scene.frame_ids, scene.image_sizes, segmenter, input_size=scene.input_size, output=other)
    assert torch.equal(anomaly_maps(detectors[name], scene)[0], anomaly_maps(detectors[name], same)[0])


@pytest.mark.parametrize("name", [name for name in ON_LOGITS if "check_logits" in new(name).get_params()])
def test_probabilities_are_refused(name, detectors):
    scene = scene_with_logits(torch.randn(1, len(CLASSES), 20, 20).softmax(1))
    with pytest.raises(CompatibilityError, match="check_logits=false"):
        anomaly_maps(detectors[name], scene)
    tolerant = new(name, check_logits=False)
    tolerant.load_state(detectors[name].state())
    assert anomaly_maps(tolerant, scene)[0].isfinite().all()


@every_logit_detector
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e2, 1e4])
def test_extreme_logits(name, scale, detectors):
    logits = torch.randn(1, len(CLASSES), 20, 30, generator=torch.Generator().manual_seed(0)) * scale
    score = anomaly_maps(detectors[name], scene_with_logits(logits))[0]
    assert score.isfinite().all()
    if detectors[name].bounded:
        assert score.min() >= 0
        assert score.max() <= 1


@pytest.mark.parametrize("name", [n for n in ON_LOGITS if "upsample" in create_detector(n).get_params()])
def test_both_places_to_upsample(name, segmenter, detectors):
    other = new(name, upsample="score")
    other.load_state(detectors[name].state())
    scene = scene_of(segmenter)
    maps = [anomaly_maps(detector, scene)[0] for detector in (detectors[name], other)]
    assert maps[0].shape == maps[1].shape
    assert not torch.equal(*maps)
    logits = torch.randn(1, len(CLASSES), 20, 30)
    at_size = [anomaly_maps(detector, scene_with_logits(logits))[0] for detector in (detectors[name], other)]
    torch.testing.assert_close(*at_size)
    with pytest.raises(ConfigError, match="upsample"):
        new(name, upsample="both")


@every_detector
def test_deep_copies_are_independent(name, segmenter, detectors):
    clone = copy.deepcopy(detectors[name])
    scene = scene_of(segmenter)
    expected = anomaly_maps(detectors[name], scene)[0]
    assert torch.equal(anomaly_maps(clone, scene)[0], expected)
    for tensor in clone.state().values():
        tensor.zero_()
    assert torch.equal(anomaly_maps(detectors[name], scene)[0], expected)


@pytest.mark.parametrize("name", detector_names("fitted"))
def test_scoring_before_fitting_is_a_clear_error(name, segmenter, tmp_path):
    detector = new(name)
    assert not detector.is_fitted
    for attempt in (
        lambda: detector.score(scene_of(segmenter)),
        lambda: anomaly_maps(detector, scene_of(segmenter)),
        lambda: save_detector(detector, tmp_path / "unfitted"),
    ):
        with pytest.raises(CompatibilityError, match=f"{name} has not been fitted"):
            attempt()
    assert not (tmp_path / "unfitted").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FITTABLE])
def test_fitting_what_cannot_be_fitted_is_a_clear_error(name, segmenter):
    with pytest.raises(CompatibilityError, match="needs no fitting"):
        new(name).fit(segmenter, frames_for(name))


@every_fittable_detector
class TestFitting:
    def test_frames_are_read_once_from_any_iterable(self, name, segmenter, detectors):
        seen = []
        detector = new(name).fit(
            segmenter,
            (frame for frame in frames_for(name)),
            progress=lambda frame, error: seen.append((frame.id, error)),
        )
        assert seen == [(frame.id, None) for frame in made_frames()]
        for key, tensor in detectors[name].state().items():
            assert torch.equal(tensor, detector.state()[key])

    def test_records_what_it_was_fitted_on(self, name, segmenter, detectors):
        fitted_on = detectors[name].fitted_on
        assert fitted_on["frames"] == len(set(fitted_on["fingerprints"])) == 4
        assert fitted_on["data"] == "camvid@train (4)"
        assert fitted_on["segmenter"]["sha256"] == segmenter.fingerprint()
        card = detectors[name].card()["fitted_on"]
        assert card["sha256"] == fitted_on["sha256"]
        assert "fingerprints" not in card

    def test_no_frames(self, name, segmenter):
        with pytest.raises(DataError, match="no frames"):
            new(name).fit(segmenter, [])

    def test_fitting_leaves_the_network_alone(self, name):
        segmenter = TinySegmenter().train()
        before = segmenter.fingerprint()
        new(name).fit(segmenter, frames_for(name, 2))
        assert segmenter.training
        assert segmenter.fingerprint() == before
        assert all(parameter.grad is None for parameter in segmenter.parameters())


@pytest.fixture(scope="module")
def saved(detectors, segmenter, tmp_path_factory) -> Path:
    """All detectors, saved, and their maps as another process scores them."""
    root = tmp_path_factory.mktemp("saved")
    for name, detector in detectors.items():
        save_detector(detector, root / name, segmenter)
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from safetensors.torch import save_file\n"
        "from tiny import TinySegmenter, scene_of\n"
        "from anomseg.detectors import anomaly_maps, load_detector\n"
        "torch.set_num_threads(int(sys.argv[3]))\n"
        "root = Path(sys.argv[1]); scene = scene_of(TinySegmenter())\n"
        "maps = {d.name: anomaly_maps(load_detector(d), scene)[0] for d in root.iterdir()}\n"
        "save_file(maps, root.parent / 'maps.safetensors')\n"
    )
    command = [sys.executable, "-c", script, str(root), str(Path(__file__).parent), str(torch.get_num_threads())]
    subprocess.run(command, check=True)
    return root


@every_detector
def test_saved_and_loaded_it_scores_bit_for_bit_the_same(name, saved, detectors, segmenter):
    expected = anomaly_maps(detectors[name], scene_of(segmenter))[0]
    loaded = resolve_detector(saved / name)
    assert type(loaded) is type(detectors[name])
    assert loaded.get_params() == detectors[name].get_params()
    assert loaded.fitted_on == detectors[name].fitted_on
    if loaded.flags.owns_network:
        assert [own.identity() for own in loaded.networks().values()] == [
            own.identity() for own in detectors[name].networks().values()
        ]
    else:
        assert loaded.segmenter_identity["sha256"] == segmenter.fingerprint()
    assert torch.equal(anomaly_maps(loaded, scene_of(segmenter))[0], expected)
    assert torch.equal(load_file(saved.parent / "maps.safetensors")[name], expected)
    again = saved.parent / f"{name}-again"
    save_detector(loaded, again, segmenter)
    for file in (path for path in (saved / name).rglob("*") if path.is_file()):
        assert (again / file.relative_to(saved / name)).read_bytes() == file.read_bytes()


@every_detector
def test_a_state_of_another_kind_is_refused(name):
    with pytest.raises(CompatibilityError, match="state"):
        new(name).load_state({"something": torch.zeros(3)})


@every_detector
def test_not_saved_is_not_loaded(name, tmp_path):
    with pytest.raises(DataError, match=r"detector\.json"):
        load_detector(tmp_path)
