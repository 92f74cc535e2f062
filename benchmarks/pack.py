"""Pack the data of a training run into one folder, so that it fits beside the working tree on another machine.

    python benchmarks/pack.py --camvid CAMVID --idd-lite IDD_LITE [--out packed] [--budget-mb 60]

Images are copied as they are where everything fits, else written anew as WebP at the highest quality that fits; labels
are always kept exactly. What was written is read back and compared before a command for the other machine is printed.
The folder is ignored by git and holds data under their owners' terms: take it along, never publish it.
"""

from __future__ import annotations

import argparse
import io
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from anomseg.data import load_frames
from anomseg.errors import AnomsegError, ConfigError, DataError
from anomseg.files import write_text
from anomseg.types import Frame, UInt8Array

AS_THEY_ARE = 101
LADDER = (AS_THEY_ARE, 95, 92, 90, 88, 85, 82, 80, 75, 70, 60, 50)
"""WebP qualities, best first; the first stands for files copied as they are."""
SETS = ("camvid", "idd_lite")
NOTES, TITLE = "README.md", "# Packed data, under their owners' terms: not to be published"
MEGA = 1_000_000
SAMPLED = 16
"""Sizes are estimated from every 16th frame."""


@dataclass(frozen=True)
class Source:
    """One split of a data set: its registered name and its frames."""

    name: str
    split: str
    frames: Sequence[Frame]


@dataclass
class Parity:
    """How the packed images of one split differ from their sources.

    Attributes:
        decibels: Peak signal-to-noise ratio of each image, infinite where it is the same.
        bytes: Size of its files.
    """

    decibels: list[float] = field(default_factory=list)
    bytes: int = 0

    @property
    def worst(self) -> float:
        """The lowest ratio, in dB."""
        return min(self.decibels)

    def line(self, source: Source) -> str:
        """One row of the report."""
        changed = [value for value in self.decibels if math.isfinite(value)]
        told = f"PSNR worst {self.worst:.1f}, mean {np.mean(changed):.1f} dB" if changed else "images as they were"
        size = f"{len(source.frames)} frames, {self.bytes / MEGA:.1f} MB"
        return f"{source.name}/{source.split}: {size}, {told}, labels equal"


def find_sources(roots: dict[str, Path], splits: Sequence[str]) -> list[Source]:
    """All splits that are there; a data set without any of them is an error.

    Raises:
        DataError: A data set is not found, or has no labelled frames in any of the splits.
    """
    found: list[Source] = []
    for name, root in roots.items():
        refused: list[str] = []
        for split in splits:
            try:
                frames = load_frames(name, root, split)
            except DataError as error:
                refused.append(str(error))
                continue
            if all(frame.classes is not None for frame in frames[:1]):
                found.append(Source(name, split, frames))
        if not any(source.name == name for source in found):
            raise DataError(refused[0] if refused else f"{root} has no labelled frames of {name}")
    return found


def shrunk(picture: Image.Image, longest: int, how: Image.Resampling) -> Image.Image:
    """The picture with its longest side at most ``longest``; the same one where it is so already."""
    ratio = longest / max(picture.size)
    if ratio >= 1:
        return picture
    width, height = (max(1, round(side * ratio)) for side in picture.size)
    return picture.resize((width, height), how)


def target_image(frame: Frame, longest: int) -> tuple[Image.Image, bool]:
    """The picture that a packed image stands for, and whether it was shrunk."""
    whole = Image.fromarray(frame.image())
    picture = shrunk(whole, longest, Image.Resampling.BILINEAR)
    return picture, picture is not whole


def target_label(frame: Frame, longest: int) -> UInt8Array:
    """The class numbers that a packed label holds, exactly; 255 is void."""
    classes = frame.classes
    if classes is None:
        raise DataError(f"{frame.id} has no label; give a split that is labelled throughout")
    return np.asarray(shrunk(Image.fromarray(classes), longest, Image.Resampling.NEAREST))


def encode_image(frame: Frame, quality: int, longest: int) -> tuple[bytes, str]:
    """A packed image file and its suffix."""
    path = Path(frame.meta["path"])
    picture, changed = target_image(frame, longest)
    if quality == AS_THEY_ARE and not changed:
        return path.read_bytes(), path.suffix
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=min(quality, 100), method=3)
    return stream.getvalue(), ".webp"


def encode_label(frame: Frame, longest: int) -> bytes:
    """A packed label file, grey PNG of eight bits."""
    stream = io.BytesIO()
    Image.fromarray(target_label(frame, longest)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def estimate(sources: Sequence[Source], quality: int, longest: int) -> float:
    """Bytes that the packed data will take, from every 16th frame."""
    total = 0.0
    for source in sources:
        some = source.frames[::SAMPLED]
        size = sum(len(encode_image(one, quality, longest)[0]) + len(encode_label(one, longest)) for one in some)
        total += size * len(source.frames) / len(some)
    return total


def make_room(out: Path) -> None:
    """Take the data sets of an earlier pack away, or begin a new folder that says what it is.

    Raises:
        ConfigError: The folder holds something else.
    """
    notes = out / NOTES
    if out.exists() and any(out.iterdir()) and not (notes.is_file() and notes.read_text("utf-8").startswith(TITLE)):
        raise ConfigError(f"{out} holds something that was not packed here; choose another --out")
    for name in SETS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
    write_text(notes, f"{TITLE}\n")


def write(sources: Sequence[Source], quality: int, longest: int, out: Path) -> int:
    """Write all files in the layout that the loaders read; the bytes written."""
    total = 0
    for source in sources:
        for frame in source.frames:
            image, suffix = encode_image(frame, quality, longest)
            label = encode_label(frame, longest)
            for kind, name, data in (("images", frame.id + suffix, image), ("labels", f"{frame.id}.png", label)):
                path = out / source.name / kind / source.split / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)  # not one by one safe against a power cut: all is read back at the end
            total += len(image) + len(label)
    return total


def psnr(one: UInt8Array, other: UInt8Array) -> float:
    """Peak signal-to-noise ratio of eight-bit images, in dB; infinite where they are equal.

    Example:
        >>> round(psnr(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)), 6)
        0.0
    """
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return 10 * math.log10(255.0**2 / error) if error else math.inf


def verify(sources: Sequence[Source], longest: int, out: Path, least: float) -> Iterator[tuple[Source, Parity]]:
    """Read everything back through the loaders and compare it with its source.

    Raises:
        DataError: Frames are missing, a label differs in any pixel, or an image is worse than ``least`` dB.
    """
    for source in sources:
        packed = load_frames(source.name, out / source.name, source.split)
        if [frame.id for frame in packed] != [frame.id for frame in source.frames]:
            raise DataError(f"{out / source.name} does not hold the frames of {source.name}/{source.split}")
        parity = Parity()
        for before, after in zip(source.frames, packed, strict=True):
            classes = after.classes
            if classes is None or not np.array_equal(target_label(before, longest), classes):
                raise DataError(f"the packed label of {source.name} {before.id} differs from its source")
            ratio = psnr(np.asarray(target_image(before, longest)[0]), after.image())
            if ratio < least:
                raise DataError(
                    f"the packed image of {source.name} {before.id} has {ratio:.1f} dB, less than {least:g}; "
                    "give a larger --budget-mb, fewer --splits or a smaller --longest-side"
                )
            parity.decibels.append(ratio)
        parity.bytes = sum(
            path.stat().st_size
            for kind in ("images", "labels")
            for path in (out / source.name / kind / source.split).iterdir()
        )
        yield source, parity


def tree_bytes(tree: Path) -> int:
    """Bytes of the files of a working tree that git does not ignore.

    Raises:
        ConfigError: It is no working tree of git.
    """
    try:
        listed = subprocess.run(
            ["git", "-C", str(tree), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"{tree} is no working tree of git; name the one that travels with --tree") from error
    paths = [tree / name for name in listed.stdout.decode().split("\0") if name]
    return sum(path.stat().st_size for path in paths if path.is_file())


def command(roots: Sequence[str], out: Path, recipe: str) -> str:
    """What to type on the other machine, in the root of the tree."""
    given = " ".join(f"--roots.{name} {out.as_posix()}/{name}" for name in roots)
    return f"anomseg train {recipe} {given} --out runs/{recipe}"


def pack(
    roots: dict[str, Path],
    out: Path,
    budget: float,
    *,
    splits: Sequence[str] = ("train", "val", "test"),
    longest: int = 640,
    least: float = 30.0,
    recipe: str = "bundled-mask",
    tree: Path | None = None,
) -> list[str]:
    """Pack, read back, compare.

    Args:
        roots: Folder of each data set, by registered name.
        out: Folder to write; an earlier one that this wrote is replaced.
        budget: Megabytes (10^6 bytes) that data and tree may take together.
        splits: Splits to take of each set, where it has them.
        longest: Images and labels with a longer side are shrunk to it.
        least: Lowest peak signal-to-noise ratio of any image, in dB.
        recipe: What is to be trained, for the command.
        tree: Working tree that travels with the data.

    Returns:
        The lines of the report.

    Raises:
        ConfigError: ``out`` holds something else, or data that are to be packed.
        DataError: Data are missing, do not fit, or read back otherwise than they should.
    """
    if not roots:
        raise ConfigError("nothing to pack; give --camvid DIR or --idd-lite DIR")
    for root in roots.values():
        if root.resolve().is_relative_to(out.resolve()):
            raise ConfigError(f"{root} lies in {out}, where an earlier pack is deleted; choose another --out")
    make_room(out)
    sources = find_sources(roots, splits)
    beside = tree_bytes(tree) if tree else 0
    room = budget * MEGA - beside
    for quality in LADDER:
        if estimate(sources, quality, longest) > room:
            continue
        make_room(out)
        if (size := write(sources, quality, longest, out)) <= room:
            break
    else:
        raise DataError(
            f"the data do not fit into {budget:g} MB beside a tree of {beside / MEGA:.1f} MB even at quality "
            f"{LADDER[-1]}; give a larger --budget-mb, fewer --splits or a smaller --longest-side"
        )
    kept = "copied as they are" if quality == AS_THEY_ARE else f"WebP of quality {quality}"
    lines = [
        *(parity.line(source) for source, parity in verify(sources, longest, out, least)),
        f"images {kept}; data {size / MEGA:.1f} MB, tree {beside / MEGA:.1f} MB, of {budget:g} MB",
    ]
    run = command([*roots], out, recipe)
    write_text(out / NOTES, "\n\n".join([TITLE, *lines, f"    {run}"]) + "\n")
    return [*lines, run]


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack as the command line says and print the report."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--camvid", type=Path, help="folder of CamVid")
    parser.add_argument("--idd-lite", type=Path, help="folder of IDD-Lite")
    parser.add_argument("--out", type=Path, default=Path("packed"))
    parser.add_argument("--budget-mb", type=float, default=60, help="data and tree together, in 10^6 bytes")
    parser.add_argument("--splits", default="train,val,test", help="those that a data set has are taken")
    parser.add_argument("--longest-side", type=int, default=640, help="larger images are shrunk to it")
    parser.add_argument("--psnr", type=float, default=30, help="lowest ratio of any image that is accepted, in dB")
    parser.add_argument("--recipe", default="bundled-mask")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1], help="working tree that travels along")
    options = parser.parse_args(arguments)
    roots = dict(zip(SETS, (options.camvid, options.idd_lite), strict=True))
    try:
        lines = pack(
            {name: root for name, root in roots.items() if root is not None},
            options.out,
            options.budget_mb,
            splits=options.splits.split(","),
            longest=options.longest_side,
            least=options.psnr,
            recipe=options.recipe,
            tree=options.tree,
        )
    except AnomsegError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
