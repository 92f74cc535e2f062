"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anomseg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jsonargparse import ArgumentParser, Namespace

    from anomseg.detectors.base import Detector
    from anomseg.segmenters import Segmenter

SEGMENTER_HELP = (
    "network: bundled, erfnet:WEIGHTS, hf:DIRECTORY or hf:HUB_ID, onnx:FILE, or a directory written by anomseg "
    "(see 'anomseg list segmenters')"
)
DETECTOR_HELP = (
    "detectors: names with options (energy:temperature=2), saved directories; commas separate several, and the "
    "option may repeat (see 'anomseg list detectors')"
)


def add_network(
    parser: ArgumentParser,
    default: str | None = "bundled",
    device: str = "auto",
    sizes: Sequence[str] | None = None,
) -> None:
    """``--segmenter``, ``--size`` and ``--device``, with their defaults, and how the network is run.

    Args:
        parser: The command's.
        default: Of ``--segmenter``.
        device: Default of ``--device``.
        sizes: Default of ``--size`` where it takes several; None where it takes one.
    """
    parser.add_argument("--segmenter", type=str, default=default, help=SEGMENTER_HELP)
    if sizes is None:
        parser.add_argument(
            "--size", type=str, default=None, help="working size HEIGHTxWIDTH of the network, instead of its own"
        )
    else:
        parser.add_argument(
            "--size", type=str, nargs="+", default=list(sizes), help="sizes HEIGHTxWIDTH of images and network"
        )
    parser.add_argument("--device", type=str, default=device, help="cpu, cuda, cuda:1, mps, or auto: cuda if there")
    parser.add_argument(
        "--tile",
        type=str,
        default=None,
        help="run the network on overlapping tiles of HEIGHTxWIDTH; the working size is then each image's own, "
        "or --size",
    )
    parser.add_argument("--overlap", type=int, default=None, help="pixels that neighbouring tiles share; default 128")
    parser.add_argument(
        "--precision", type=str, default="float32", help="float32, or bfloat16 or float16 for mixed precision"
    )
    parser.add_argument("--compile", action="store_true", help="compile the network, which takes a while at its start")


def add_run(parser: ArgumentParser) -> None:
    """``--seed`` and ``--quiet``."""
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")
    parser.add_argument("--quiet", action="store_true", help="show no progress and no summary")


def parse_size(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """Read ``HEIGHTxWIDTH``.

    Args:
        text: The value; None where the option was not given.
        option: What the user calls it.

    Raises:
        ConfigError: It is something else, or a side is out of range.

    Example:
        >>> parse_size("512x1024")
        (512, 1024)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if not match or min(int(side) for side in match.groups()) < 1:
        raise ConfigError(f"{option} {text!r} is not HEIGHTxWIDTH, such as 512x1024")
    height, width = (int(side) for side in match.groups())
    if height * width > 100_000_000:
        raise ConfigError(f"{option} {text} has more than 100 million pixels")
    return height, width


def parse_data(text: str, option: str = "--data") -> tuple[str, str, str | None]:
    """Read ``NAME=ROOT[@SPLIT]``.

    Args:
        text: The value.
        option: What the user calls it.

    Raises:
        ConfigError: There is no ``=``.

    Example:
        >>> parse_data("camvid=data/CamVid@train")
        ('camvid', 'data/CamVid', 'train')
        >>> parse_data("camvid=data/CamVid")
        ('camvid', 'data/CamVid', None)
    """
    name, equals, rest = text.partition("=")
    if not equals or not rest:
        raise ConfigError(f"{option} {text!r} is not NAME=ROOT or NAME=ROOT@SPLIT, such as camvid=CamVid@train")
    root, at, split = rest.rpartition("@")
    return (name, root, split) if at and "/" not in split else (name, rest, None)


def open_segmenter(options: Namespace) -> Segmenter:
    """The network a command was asked for, on its device, at its working size, run as asked."""
    from anomseg.inference.predictor import find_device

    segmenter = _run_as_asked(open_network(options.segmenter), options)
    segmenter.size = parse_size(options.size) or segmenter.size
    return segmenter.to(find_device(options.device))


def _run_as_asked(segmenter: Segmenter, options: Namespace) -> Segmenter:
    """A network in the tiles and the precision asked for, compiled if asked for."""
    from anomseg.segmenters import run_as

    tile = parse_size(options.tile, "--tile")
    if options.overlap is not None and tile is None:
        raise ConfigError("--overlap goes with --tile; give the size of the tiles, such as --tile 512x1024")
    return run_as(
        segmenter,
        precision=options.precision,
        compile=options.compile,
        tile=tile,
        overlap=128 if options.overlap is None else options.overlap,
    )


def settle_owned_networks(detectors: Iterable[Detector], options: Namespace) -> None:
    """Networks that detectors carry and score, brought to the device and working size asked for, run as asked."""
    from anomseg.inference.predictor import find_device

    size = parse_size(options.size)
    for detector in detectors:
        networks = detector.networks() if detector.flags.owns_network else {}
        if networks:
            detector.load_networks({role: _run_as_asked(network, options) for role, network in networks.items()})
        if networks and detector.segmenter is not None:
            detector.segmenter.to(find_device(options.device))
            detector.segmenter.size = size or detector.segmenter.size


def open_segmenter_for(detectors: Sequence[Detector], options: Namespace) -> Segmenter | None:
    """The network for some detectors: the one named, else the bundled one.

    Networks that detectors own are settled as `settle_owned_networks` says.

    Returns:
        The network; None where none was named and every detector owns its own.
    """
    settle_owned_networks(detectors, options)
    if options.segmenter is None and all(detector.flags.owns_network for detector in detectors):
        return None
    options.segmenter = options.segmenter or "bundled"
    return open_segmenter(options)


def open_network(text: str) -> Segmenter:
    """The plain network that a text names.

    Raises:
        ConfigError: It would have random weights, which score happily with nothing in their maps to show it.
    """
    from anomseg.segmenters.catalog import load_segmenter, why_weightless

    reason = why_weightless(text)
    if reason is not None:
        raise ConfigError(reason)
    return load_segmenter(text)


def named_detectors(options: Namespace) -> list[str]:
    """The values of ``--detector``; the default detector where it was not given."""
    from anomseg.detectors import default_detector

    given = [options.detector] if isinstance(options.detector, str) else list(options.detector or ())
    return given or [default_detector(network_named=options.segmenter is not None)]


def open_detectors(texts: Sequence[str], seed: int = 0) -> list[tuple[str, Detector]]:
    """Detectors with the names their results are filed under.

    Args:
        texts: Values of ``--detector``; a part that is a directory is a saved detector.
        seed: Value of ``--seed``, for new detectors that take one and were given none of their own.

    Returns:
        Pairs of name and detector; a name that occurs again gets ``-2`` and so on.
    """
    from pathlib import Path

    from anomseg.detectors import resolve_detector
    from anomseg.registry import split_parts

    found: list[tuple[str, Detector]] = []
    taken: dict[str, int] = {}
    for part in split_parts(texts):
        detector = resolve_detector(part)
        if "seed" in detector.get_params() and "seed=" not in part and not Path(part).is_dir():
            detector.seed = seed  # type: ignore[attr-defined]
        name = Path(part).resolve().name if Path(part).is_dir() else detector.registry_name
        taken[name] = taken.get(name, 0) + 1
        found.append((name if taken[name] == 1 else f"{name}-{taken[name]}", detector))
    if not found:
        raise ConfigError("no detector was named; try --detector energy")
    return found


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """Read ``i/n``, counted from 0.

    Raises:
        ConfigError: It is something else, or i is not below n.

    Example:
        >>> parse_shard("0/3")
        (0, 3)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or int(match[1]) >= int(match[2]):
        raise ConfigError(f"--shard {text!r} is not i/n with i from 0 to n-1, such as 0/4")
    return int(match[1]), int(match[2])
