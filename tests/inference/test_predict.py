import threading

import numpy as np
import pytest
import torch
from inference_parts import (
    BoundedDarkness,
    BrightnessSegmenter,
    Constant,
    Darkness,
    Interrupting,
    Noise,
    NotANumber,
    picture,
    write_pictures,
)
from PIL import Image
from torch.nn import functional as F

from anomseg.detectors.base import Detector
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.inference import Prediction, predict
from anomseg.types import Flags, Frame


def test_path_array_pillow_tensor_and_frame_agree(tmp_path):
    image = picture()
    Image.fromarray(image).save(tmp_path / "street.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    given = [
        str(tmp_path / "street.png"),
        tmp_path / "street.png",
        image,
        image.astype(np.float32) / 255,
        Image.fromarray(image),
        tensor,
        tensor.float() / 255,
        Frame("street", lambda: image),
    ]
    results = [predict(each, BrightnessSegmenter(), Darkness()) for each in given]
    for result in results:
        assert isinstance(result, Prediction)
        assert np.array_equal(result.image, image)
        assert np.array_equal(result.anomaly_map, results[0].anomaly_map)
    assert [results[0].name, results[-1].name] == ["street", "street"]


def test_the_map_is_the_score_at_the_image_size():
    image = picture(size=(37, 53))
    result = predict(image, BrightnessSegmenter(size=(24, 40), divisor=16), Darkness())
    small = np.asarray(Image.fromarray(image).resize((40, 24), Image.Resampling.BILINEAR))
    batch = torch.from_numpy(small.copy()).permute(2, 0, 1)[None].float() / 255
    batch = F.pad(batch, (0, 8, 0, 8), mode="replicate")
    grey = batch.mean(1, keepdim=True)
    logits = torch.cat([-(grey - centre).abs() * 10 for centre in (0.1, 0.5, 0.9)], 1)[..., :24, :40]
    logits = F.interpolate(logits, size=(37, 53), mode="bilinear", align_corners=False)
    assert result.anomaly_map == pytest.approx(-logits.max(1).values[0].numpy(), abs=1e-5)
    assert np.array_equal(result.segmentation, logits.argmax(1)[0].numpy())
    assert (result.anomaly_map.dtype, result.segmentation.dtype) == (np.float32, np.uint8)
    assert result.classes == ("dark", "medium", "bright")


@pytest.mark.parametrize("working", [None, (32, 48)])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_mixed_sizes_in_one_call(working, batch_size):
    images = [picture(index, size) for index, size in enumerate([(40, 60), (40, 60), (33, 57), (57, 33), (40, 60)])]
    segmenter = BrightnessSegmenter(working)
    together = list(predict(iter(images), segmenter, Darkness(), batch_size=batch_size))
    assert [each.anomaly_map.shape for each in together] == [image.shape[:2] for image in images]
    for image, result in zip(images, together, strict=True):
        alone = predict(image, BrightnessSegmenter(working), Darkness())
        assert result.anomaly_map == pytest.approx(alone.anomaly_map, abs=1e-5)
        assert np.array_equal(result.image, image)
    assert len({result.name for result in together}) == 5
    most = max(batch[0] for batch in segmenter.batches)
    assert most == (min(batch_size, 5) if working else min(batch_size, 2))


def test_turned_grey_alpha_palette_and_deep_images(tmp_path):
    image = picture(size=(31, 47))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([image, np.zeros((31, 47), np.uint8)])).save(tmp_path / "alpha.png")
    Image.fromarray(image).quantize(8).save(tmp_path / "palette.png")
    Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    results = {result.name: result for result in predict(tmp_path, BrightnessSegmenter(), Darkness())}
    assert sorted(results) == ["alpha", "deep", "grey", "palette", "turned"]
    assert np.array_equal(results["turned"].image, np.rot90(image, -1))
    assert results["turned"].anomaly_map.shape == (47, 31)
    assert np.array_equal(results["alpha"].image, image)
    for name in ("grey", "deep"):
        assert np.array_equal(results[name].image, np.repeat(image[..., :1], 3, axis=2))
    # The same images opened by the caller.
    for name, result in results.items():
        opened = predict(Image.open(tmp_path / f"{name}.png"), BrightnessSegmenter(), Darkness())
        assert np.array_equal(opened.image, result.image), name
    grey_array = predict(image[..., 0], BrightnessSegmenter(), Darkness())
    assert np.array_equal(grey_array.anomaly_map, results["grey"].anomaly_map)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (np.zeros((4, 4, 3)) + 1.5, "outside"),
        (np.full((4, 4, 3), np.nan), "outside"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (torch.zeros(5, 4, 3), "tensor is"),
        (torch.zeros(2, 3, 4, 4), "tensor is"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "floating-point"),
    ],
)
def test_what_is_no_image_is_a_frame_error(bad, match):
    with pytest.raises(FrameError, match=match):
        predict(bad, BrightnessSegmenter(), Darkness())


def test_objects_and_missing_files():
    with pytest.raises(DataError, match="dict"):
        list(predict([{}], BrightnessSegmenter(), Darkness()))
    with pytest.raises(DataError, match=r"gone\.jpg does not exist"):
        predict("gone.jpg", BrightnessSegmenter(), Darkness())


def test_nan_scores_name_the_frame_and_spare_the_others(tmp_path):
    write_pictures(tmp_path)
    detector = NotANumber(("b",))
    reasons = {}
    good = predict(tmp_path, BrightnessSegmenter(), detector, batch_size=3, on_error=reasons.__setitem__)
    assert [result.name for result in good] == ["a", "c"]
    assert "b: nan gave 1 NaN or infinite scores" in str(reasons["b"])
    with pytest.raises(FrameError, match="b: nan gave"):
        list(predict(tmp_path, BrightnessSegmenter(), detector))
    with pytest.raises(FrameError, match="image: nan"):
        predict(picture(), BrightnessSegmenter(), NotANumber())


def test_a_map_of_another_size_is_refused():
    class Small(Darkness):
        def score(self, scene):
            return super().score(scene)[:, ::2]

    with pytest.raises(FrameError, match="map of"):
        predict(picture(), BrightnessSegmenter(), Small())


def test_one_bad_frame_of_a_batch_does_not_spoil_it():
    class Picky(Darkness):
        def score(self, scene):
            if "image-1" in scene.frame_ids:
                raise FrameError("image-1 is not to my taste")
            return super().score(scene)

    reasons = {}
    results = predict(
        [picture(index) for index in range(4)],
        BrightnessSegmenter(),
        Picky(),
        batch_size=4,
        on_error=reasons.__setitem__,
    )
    assert [result.name for result in results] == ["image-0", "image-2", "image-3"]
    assert list(reasons) == ["image-1"]


def test_random_detectors_do_not_depend_on_order_or_company():
    frames = [Frame(name, picture) for name in ("x", "y")]
    forward = {each.name: each.anomaly_map for each in predict(frames, None, Noise(), seed=3)}
    backward = {each.name: each.anomaly_map for each in predict(frames[::-1], None, Noise(), seed=3)}
    assert all(np.array_equal(forward[name], backward[name]) for name in "xy")
    assert not np.array_equal(forward["x"], forward["y"])
    assert not np.array_equal(forward["x"], predict(frames[0], None, Noise(), seed=4).anomaly_map)


def test_the_callers_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    predict(picture(), None, Noise())
    assert torch.equal(torch.rand(1), expected)


def test_without_a_network():
    result = predict(picture(), None, Noise())
    assert result.segmentation is None
    with pytest.raises(CompatibilityError, match="no segmentation"):
        result.coloured_segmentation()
    with pytest.raises(CompatibilityError, match="give a segmenter"):
        predict(picture(), None, Darkness())


def test_an_unfitted_detector_is_refused_before_any_work():
    class Unfitted(Darkness):
        registry_name = "unfitted"
        flags = Flags(needs_fit=True)

    with pytest.raises(CompatibilityError, match="has not been fitted"):
        predict([], BrightnessSegmenter(), Unfitted())


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="not available"):
        predict(picture(), BrightnessSegmenter(), Darkness(), device="abacus")


def test_running_out_of_memory_says_what_to_do():
    class Hungry(Darkness):
        def score(self, scene):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10**12 bytes")

    with pytest.raises(ConfigError, match="smaller batch or working size"):
        predict(picture(), BrightnessSegmenter(), Hungry())


def test_the_region_of_interest():
    image = picture(size=(40, 60))
    mask = np.zeros((20, 30), np.uint8)
    mask[5:, :] = 7
    plain = predict(image, BrightnessSegmenter(), Darkness())
    result = predict(image, BrightnessSegmenter(), Darkness(), roi=mask)
    inside = np.zeros((40, 60), bool)
    inside[10:] = True
    assert np.array_equal(result.roi, inside)
    assert np.array_equal(result.anomaly_map[inside], plain.anomaly_map[inside])
    assert (result.anomaly_map[~inside] == plain.anomaly_map[inside].min()).all()
    assert np.isfinite(result.anomaly_map).all()
    assert not result.mask(-1e9)[~inside].any()
    assert result.mask(-1e9)[inside].all()
    assert np.array_equal(result.overlay(bar=False)[~inside], image[~inside])


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "1"])
def test_a_region_from_a_file_of_any_mode(tmp_path, mode):
    values = np.zeros((40, 60), np.uint8)
    values[:, 30:] = 255
    Image.fromarray(values).convert("RGB").convert(mode).save(tmp_path / "roi.png")
    result = predict(picture(), BrightnessSegmenter(), Darkness(), roi=tmp_path / "roi.png")
    assert np.array_equal(result.roi, values > 0)
    assert result.provenance["settings"]["roi"]["sha256"]


@pytest.mark.parametrize("roi", [np.zeros((4, 4)), np.ones((4, 4, 3)), "missing.png"])
def test_a_useless_region_is_refused(roi):
    with pytest.raises(DataError, match="region of interest"):
        predict(picture(), BrightnessSegmenter(), Darkness(), roi=roi)


@pytest.mark.parametrize("offset", [0.0, -500.0])
def test_overlays_are_never_black(offset):
    result = predict(picture(), BrightnessSegmenter(), Darkness(offset))
    assert result.anomaly_map.max() <= 0.0 or offset == 0.0
    assert result.overlay(bar=False).shape == (40, 60, 3)
    assert result.overlay(bar=False).mean() > 50
    assert result.overlay().shape[1] > 60


def test_a_constant_map_is_drawn():
    result = predict(picture(), BrightnessSegmenter(), Constant(4.0))
    assert result.overlay().dtype == np.uint8
    assert result.range() == (3.5, 4.5)


def test_bounded_scores_keep_the_unit_range():
    result = predict(picture(), BrightnessSegmenter(), BoundedDarkness())
    assert result.bounded
    assert result.range() == (0.0, 1.0)


@pytest.mark.parametrize("limits", [(1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))])
def test_an_empty_colour_range_is_refused(limits):
    with pytest.raises(ConfigError, match="colour range"):
        predict(picture(), BrightnessSegmenter(), Darkness()).overlay(limits)


def test_the_mask_includes_the_threshold_itself():
    result = predict(picture(), BrightnessSegmenter(), Constant(4.0))
    assert result.mask(4.0).all()
    assert not result.mask(np.nextafter(np.float32(4), np.float32(5))).any()


def test_interruption_leaves_no_thread():
    with pytest.raises(KeyboardInterrupt):
        list(predict([picture(index) for index in range(50)], BrightnessSegmenter(), Interrupting("image-3")))
    assert not [thread for thread in threading.enumerate() if thread.name == "anomseg-prefetch"]


def test_a_detector_that_owns_its_network_needs_no_segmenter():
    class Owner(Detector):
        registry_name = "owner"
        flags = Flags(owns_network=True)

        def __init__(self):
            super().__init__()
            self.segmenter = BrightnessSegmenter()

        def score(self, scene):
            return -scene.logits().max(1).values

    result = predict(picture(), None, Owner())
    assert result.provenance["segmenter"]["name"] == "brightness"
