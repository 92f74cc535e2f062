"""Odd images come out right; bad ones are refused in one line."""

import io
import tracemalloc
import warnings

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from trees import encode, mask, pixels, png, put

from anomseg.data import decode_image, decode_label, image_size
from anomseg.data.decoding import is_image_file
from anomseg.errors import FrameError

GREY16 = (np.arange(96, dtype=np.uint16).reshape(8, 12) * 683).astype(">u2")


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_rgb_is_read_exactly_and_is_writable_and_contiguous():
    image = decode_image(encode(pixels()))
    np.testing.assert_array_equal(image, pixels())
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    image[0, 0] = 1


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 1), (31, 17)])
def test_odd_sizes(size):
    np.testing.assert_array_equal(decode_image(encode(pixels(3, size))), pixels(3, size))


def test_grey_is_repeated():
    grey = pixels()[..., 0]
    np.testing.assert_array_equal(decode_image(encode(grey)), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_not_blended(kind):
    rgba = np.dstack([pixels(), np.full((8, 12), 9, np.uint8)])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode(rgba, kind, **options)), pixels())


def test_grey_with_alpha():
    grey = pixels()[..., 0]
    rows = np.stack([grey, np.zeros_like(grey)], -1).tobytes()
    np.testing.assert_array_equal(decode_image(png(12, 8, 8, 4, rows)), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize("extra", [(), ((b"tRNS", bytes([0, 128, 255])),)], ids=["opaque", "transparent"])
def test_palette_is_looked_up_without_a_warning(extra):
    table = np.array([[10, 20, 30], [200, 0, 5], [1, 2, 3]], np.uint8)
    index = np.arange(96, dtype=np.uint8).reshape(8, 12) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode_image(png(12, 8, 8, 3, index.tobytes(), (b"PLTE", table.tobytes()), *extra))
    np.testing.assert_array_equal(image, table[index])


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png_is_scaled_to_eight(colour, channels):
    rows = np.repeat(GREY16[..., None], channels, 2).tobytes()
    image = decode_image(png(12, 8, 16, colour, rows))
    assert np.abs(image.astype(float) - GREY16[..., None] * (255 / 65535)).max() <= 1
    assert image.max() > 240


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_tiff_of_another_writer(order):
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY16.astype(f"{order}u2"), byteorder=order)
    assert np.abs(decode_image(stream.getvalue()) - GREY16[..., None] * (255 / 65535)).max() <= 1


def test_sixteen_bit_netpbm():
    image = decode_image(b"P5 12 8 65535\n" + GREY16.tobytes())
    assert np.abs(image - GREY16[..., None] * (255 / 65535)).max() <= 1


def test_one_bit():
    assert decode_image(png(8, 1, 1, 0, bytes([0b01100001])))[0, :, 0].tolist() == [0, 255, 255, 0, 0, 0, 0, 255]


def test_cmyk_is_converted():
    cyan = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    stream = io.BytesIO()
    cyan.save(stream, "TIFF")
    assert decode_image(stream.getvalue())[0, 0].tolist() == [0, 255, 255]


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_and_the_size_agrees(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(pixels(), kind, exif=exif)
    image = decode_image(data)
    np.testing.assert_array_equal(image, UPRIGHT[orientation](pixels()))
    assert image_size(data) == image.shape[:2]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_exif_orientation_of_lossy_formats(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(pixels(), kind, exif=exif)
    np.testing.assert_array_equal(decode_image(data), np.rot90(decode_image(encode(pixels(), kind)), -1))
    assert image_size(data) == (12, 8)


def test_damaged_exif_does_not_spoil_the_image():
    data = png(12, 8, 8, 2, pixels().tobytes(), (b"eXIf", b"MM\x00*\xff\xff\xff\xff"))
    np.testing.assert_array_equal(decode_image(data), pixels())


def test_gamma_and_profile_chunks_are_ignored():
    data = png(12, 8, 8, 2, pixels().tobytes(), (b"gAMA", (20000).to_bytes(4, "big")))
    np.testing.assert_array_equal(decode_image(data), pixels())


def test_content_decides_not_the_suffix(tmp_path):
    data = encode(pixels(), "JPEG")
    image = decode_image(put(tmp_path / "a.png", data))
    np.testing.assert_array_equal(image, decode_image(data))


def test_first_of_several_pages():
    stream = io.BytesIO()
    Image.fromarray(pixels(0)).save(stream, "TIFF", save_all=True, append_images=[Image.fromarray(pixels(1))])
    np.testing.assert_array_equal(decode_image(stream.getvalue()), pixels(0))


@pytest.mark.parametrize("values", [np.float32, np.uint32])
def test_values_of_unknown_range_are_refused(values):
    stream = io.BytesIO()
    tifffile.imwrite(stream, GREY16.astype(values))
    with pytest.raises(FrameError, match="range is unknown") as error:
        decode_image(stream.getvalue())
    assert "8-bit" in one_line(error)


def test_float_colours_are_refused():
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels().astype(np.float32), photometric="rgb")
    with pytest.raises(FrameError, match="unusual kind") as error:
        decode_image(stream.getvalue())
    one_line(error)


@pytest.mark.parametrize("side", [11_000, 60_000, 2**31 - 1])
def test_absurd_sizes_are_refused_before_memory_is_taken(side):
    data = png(side, side, 8, 0, b"")
    tracemalloc.start()
    with pytest.raises(FrameError) as error:
        decode_image(data)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "<" in one_line(error)


def test_size_bound_is_an_option():
    data = encode(pixels())
    assert decode_image(data, max_pixels=96).shape == (8, 12, 3)
    with pytest.raises(FrameError, match="12x8"):
        decode_image(data, max_pixels=95)


def test_other_formats_are_not_tried():
    stream = io.BytesIO()
    Image.fromarray(pixels()).save(stream, "PCX")
    with pytest.raises(FrameError, match="not an image of a known format"):
        decode_image(stream.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_files_are_refused_at_any_length(kind):
    data = encode(pixels(1, (40, 40)), kind)
    for length in range(0, len(data) * 9 // 10, max(1, len(data) // 40)):
        with pytest.raises(FrameError) as error:
            decode_image(data[:length])
        one_line(error)


def outcome_of(decode, data: bytes) -> np.ndarray | str:
    """The decoded array, or the message of a `FrameError`; anything else escapes."""
    try:
        return decode(data, max_pixels=10_000)
    except FrameError as error:
        return str(error)


SEEDS = [encode(pixels(5, (16, 16)), kind) for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_bytes_give_an_image_or_a_frame_error(data, edits):
    damaged = bytearray(data)
    for place, value in edits:
        damaged[place % len(damaged)] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for decode in (decode_image, decode_label):
            outcome = outcome_of(decode, bytes(damaged))
            assert "\n" not in outcome if isinstance(outcome, str) else outcome.dtype == np.uint8


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_missing_files_and_folders_are_named(tmp_path, name):
    with pytest.raises(FrameError, match="cannot be read") as error:
        decode_image(tmp_path / name)
    assert str(tmp_path) in one_line(error)


def test_label_numbers_are_read_not_palette_colours():
    table = bytes(range(30, 30 + 12))
    data = png(4, 1, 8, 3, bytes([3, 0, 1, 2]), (b"PLTE", table))
    assert decode_label(data).tolist() == [[3, 0, 1, 2]]


@pytest.mark.parametrize(
    ("depth", "packed", "numbers"),
    [(1, [0b01010000], [0, 1, 0, 1]), (2, [0b00011011], [0, 1, 2, 3]), (4, [0x01, 0x2F], [0, 1, 2, 15])],
)
def test_labels_of_few_bits_keep_their_numbers(depth, packed, numbers):
    """Grey of 2 or 4 bits is stretched by readers of images: 1 would become 85 or 17."""
    assert decode_label(png(4, 1, depth, 0, bytes(packed))).tolist() == [numbers]


def test_label_is_not_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_label(encode(mask(0, 1), exif=exif)).shape == (8, 12)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encode(pixels()), "RGB colours"),
        (encode(np.dstack([pixels(), pixels()[..., :1]])), "RGBA colours"),
        (png(12, 8, 16, 0, GREY16.tobytes()), "more than 8 bits"),
        (b"", "not an image"),
        (encode(mask(1), "PNG")[:40], "image"),
    ],
)
def test_bad_labels_are_refused(data, said):
    with pytest.raises(FrameError, match=said) as error:
        decode_label(data)
    one_line(error)


def test_image_files_are_told_by_suffix_or_content(tmp_path):
    assert is_image_file(put(tmp_path / "a.jpg", b""))
    assert is_image_file(put(tmp_path / "b", encode(pixels())))
    assert is_image_file(put(tmp_path / "c.data", encode(pixels(), "WEBP")))
    assert not is_image_file(put(tmp_path / "notes.txt", b"hello"))
    assert not is_image_file(tmp_path / "missing")
