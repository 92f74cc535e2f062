"""Write a network and a detector as one ONNX file that runs without this library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomseg.cli.arguments import (
    DETECTOR_HELP,
    SEGMENTER_HELP,
    open_detectors,
    open_network,
    parse_size,
)
from anomseg.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--segmenter",
        type=str,
        default=None,
        help=f"{SEGMENTER_HELP}; bundled when not given, unless the detector owns its network",
    )
    parser.add_argument(
        "--detector",
        type=str,
        default="energy",
        help=DETECTOR_HELP.split(";")[0].replace("detectors:", "one detector:"),
    )
    parser.add_argument(
        "--out", type=str, required=True, help="file to write, such as model.onnx; a .json goes beside it"
    )
    parser.add_argument(
        "--size", type=str, default=None, help="HEIGHTxWIDTH of the images it takes, instead of the network's own"
    )
    parser.add_argument("--dynamic", action="store_true", help="let it take images of any size, where the network can")
    parser.add_argument(
        "--threshold", type=float, default=None, help="default named in its card; the graph takes any threshold"
    )
    parser.add_argument("--opset", type=int, default=18, help="ONNX operator set; below 18 by the TorchScript exporter")
    parser.add_argument(
        "--images", type=str, nargs="*", default=[], help="compare with PyTorch on these too: images, folders or globs"
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="allowed difference, of the larger of 1 and the largest score"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random pictures it is compared on")
    parser.add_argument("--quiet", action="store_true", help="show no progress and no summary")


def run(options: Namespace) -> int:
    """Export, check against PyTorch, and say what was written."""
    from anomseg.cli.output import Progress, say, warn
    from anomseg.data.decoding import decode_image
    from anomseg.export import export_onnx
    from anomseg.inference.inputs import expand_inputs

    named = open_detectors([options.detector], options.seed)
    if len(named) != 1:
        raise ConfigError("anomseg export takes one detector at a time")
    detector = named[0][1]
    # A detector that owns its network scores no other, so none is loaded for it.
    segmenter = None if detector.flags.owns_network else open_network(options.segmenter or "bundled")
    images = [decode_image(item.path) for item in expand_inputs(options.images)] if options.images else []
    network = "its own network" if segmenter is None else options.segmenter or "bundled"
    say(f"tracing {network} with {named[0][0]}", options.quiet)
    with Progress("comparing with PyTorch", options.quiet) as progress:
        done = export_onnx(
            segmenter,
            detector,
            options.out,
            size=parse_size(options.size),
            dynamic=options.dynamic,
            threshold=options.threshold,
            opset=options.opset,
            images=images,
            tolerance=options.tolerance,
            seed=options.seed,
            progress=progress,
        )
    for note in done.notes:
        warn(note)
    takes = "x".join(map(str, done.card["inputs"]["image"]["shape"]))
    megabytes = done.path.stat().st_size / 1e6
    say(f"{done.path}: {megabytes:.1f} MB, takes uint8 {takes}, opset {options.opset}; {done.parity}", options.quiet)
    return EXIT_OK
