"""Show the main job at work: the bundled networks on generated street scenes, with maps, figures and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomseg.cli.arguments import add_run
from anomseg.errors import EXIT_OK

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.detectors import Detector
    from anomseg.segmenters import Segmenter

DETECTORS = (
    "bundled",
    "msp",
    "max_logit",
    "entropy",
    "energy",
    "position_prior",
    "local_contrast",
    "not_road",
    "chance",
)
FIT_SEED = 1_000_000  # clean scenes for fitting never share a seed with those that are shown
NOTE = (
    "Generated scenes are drawings: the bundled network was trained on photographs of real roads, so these figures "
    "say how the parts work together, not how well a detector does on roads. For that there is "
    "'anomseg evaluate'."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument("--out", type=str, default="demo-out", help="folder of scenes, predictions, figures and report")
    parser.add_argument("--scenes", type=int, default=12, help="how many scenes to draw")
    parser.add_argument("--size", type=str, default="360x480", help="HEIGHTxWIDTH of the scenes")
    parser.add_argument(
        "--detector", type=str, default=DETECTORS[0], help="the detector whose maps are written as pictures"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace another demo's results")
    add_run(parser)


def run(options: Namespace) -> int:
    """Draw scenes, predict on them, evaluate, report."""
    import torch

    from anomseg.cli.arguments import parse_size
    from anomseg.cli.output import Progress, say
    from anomseg.data.generated import write_dataset
    from anomseg.detectors import create_detector
    from anomseg.errors import ConfigError
    from anomseg.evaluation import make_plan, run_plan
    from anomseg.inference import predict_to_directory
    from anomseg.report import print_cards, write_run_report
    from anomseg.segmenters import load_segmenter

    if options.scenes < 1:
        raise ConfigError("--scenes must be 1 or more")
    size = parse_size(options.size) or (360, 480)
    shown = create_detector(options.detector)
    out, segmenter = Path(options.out), load_segmenter("bundled")
    say(f"drawing {options.scenes} scenes into {out / 'scenes'}", options.quiet)
    write_dataset(out / "scenes", options.scenes, seed=options.seed, size=size)
    with Progress(f"predicting with {options.detector}", options.quiet) as progress:
        predict_to_directory(
            out / "scenes" / "images",
            segmenter,
            shown,
            out / "predictions",
            on_progress=lambda report: progress(report.finished, report.total),
            overwrite=options.overwrite,
        )
    detectors: dict[str, Detector] = {name: create_detector(name) for name in DETECTORS}
    detectors["sml"] = _fitted("sml", segmenter, size)
    plan = make_plan(
        "folder:images=images;masks=labels_masks;values=0:0,1:1,255:255",
        out / "scenes",
        segmenter,
        detectors,
        seed=options.seed,
    )
    with Progress("evaluating", options.quiet) as progress:
        cards = run_plan(plan, out, torch.device("cpu"), overwrite=options.overwrite, on_progress=progress)
    if not options.quiet:
        print_cards(cards)
    page = write_run_report(out, cards, plan=plan, title="anomseg demo: generated street scenes", notes=[NOTE])
    say(NOTE, options.quiet)
    say(f"maps and overlays: {out / 'predictions'}\nreport: {page}", options.quiet)
    return EXIT_OK


def _fitted(name: str, segmenter: Segmenter, size: tuple[int, int]) -> Detector:
    from anomseg.data.generated import generated_frames
    from anomseg.detectors import create_detector

    return create_detector(name).fit(segmenter, generated_frames(8, seed=FIT_SEED, size=size, objects=0))
