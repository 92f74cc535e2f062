"""Evaluate detectors on a benchmark: figures with intervals, curves, best and worst frames, a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomseg.cli.arguments import (
    DETECTOR_HELP,
    add_network,
    add_run,
    named_detectors,
    open_detectors,
    open_segmenter_for,
    parse_shard,
    parse_size,
)
from anomseg.errors import EXIT_OK, EXIT_PARTIAL, ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from anomseg.evaluation import Plan


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of this command."""
    parser.add_argument(
        "--benchmark",
        type=str,
        required=True,
        help="see 'anomseg list benchmarks'; folder takes options: \"folder:images=photos;masks=gt;values=0:0,255:1\"",
    )
    parser.add_argument("--root", type=str, default=None, help="folder of its data; phantoms need none")
    parser.add_argument(
        "--task",
        type=str,
        default="anomaly",
        help="anomaly: does the score find what no class explains; failure: does it find where the network's own "
        "segmentation is wrong, on frames with class maps",
    )
    parser.add_argument(
        "--unknown",
        type=str,
        default="void",
        help="with --task failure, pixels that the network has no class for: void, or wrong whatever is predicted",
    )
    # On the processor shards are bit-equal to one run wherever they ran.
    add_network(parser, default=None, device="cpu")
    parser.add_argument("--detector", type=str, action="append", help=DETECTOR_HELP)
    parser.add_argument(
        "--scores",
        type=str,
        default=None,
        help="folder of anybody's maps named after the frames "
        "(npy, hdf5, tiff, 16-bit png), evaluated without any network",
    )
    parser.add_argument("--scores-name", type=str, default=None, help="name of these maps in the results")
    parser.add_argument(
        "--out", type=str, required=True, help="folder of the results; an interrupted run in it goes on"
    )
    parser.add_argument(
        "--protocol",
        type=str,
        default="default",
        help="see 'anomseg list protocols'; all: the same scores under each, in one table",
    )
    parser.add_argument("--split", type=str, default=None, help="part of the data; the benchmark's own where not given")
    parser.add_argument("--layout", type=str, default=None, help="folder layout, where several could fit")
    parser.add_argument("--label-values", type=str, default=None, help="value table raw:label, such as 0:0,1:1,255:255")
    parser.add_argument("--held-out", type=str, default=None, help="classes that count as anomalies, with commas")
    parser.add_argument(
        "--shard",
        type=str,
        default=None,
        help="i/n: every n-th frame from the i-th on, counted from 0; put together by 'anomseg merge'",
    )
    parser.add_argument(
        "--band",
        type=str,
        default=None,
        help="also figures on the pixels within so many pixels of an anomalous object's border, such as 10; commas "
        "separate several widths",
    )
    parser.add_argument(
        "--open-set-from",
        type=str,
        default=None,
        help="finished results of the same detectors on another split; open-set mIoU is also told at their threshold "
        "of 95 percent recall",
    )
    parser.add_argument("--limit", type=int, default=None, help="the first frames only")
    parser.add_argument("--keep-maps", action="store_true", help="keep the float32 maps under OUT/DETECTOR/maps")
    parser.add_argument("--allow-overlap", action="store_true", help="go on when a detector was fitted on these frames")
    parser.add_argument("--overwrite", action="store_true", help="replace another run's results in OUT")
    parser.add_argument("--no-report", action="store_true", help="write figures only, no pictures and no report.html")
    parser.add_argument(
        "--report-frames",
        type=int,
        default=12,
        help="frames in report.html whose masks follow the threshold, at most 100; all detectors score them once more",
    )
    add_run(parser)


def run(options: Namespace) -> int:
    """Evaluate, report, and say whether frames were skipped."""
    from anomseg.cli.volumes import evaluate as evaluate_volumes
    from anomseg.cli.volumes import names_cases

    if names_cases(options.benchmark):
        return evaluate_volumes(options)
    if options.root is None:
        raise ConfigError(f"missing: --root, the folder of {options.benchmark}; see 'anomseg evaluate --help'")
    if options.unknown != "void" and options.task != "failure":
        raise ConfigError("--unknown goes with --task failure; leave it out")
    if options.scores and (options.detector or options.segmenter):
        raise ConfigError("--scores takes the place of --segmenter and --detector; leave these out")
    if options.shard and options.protocol == "all":
        raise ConfigError("--shard goes with one protocol; name it")
    subject = _subject(options)
    if options.protocol == "all":
        return _evaluate_all(options, subject)
    return _evaluate(options, subject)


def _parse_bands(text: str | None) -> list[int]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--band {text!r} is no number of pixels; write for instance 10, or 3,10")
    return [int(part) for part in parts]


def _subject(options: Namespace) -> dict[str, Any]:
    """What is evaluated, opened once for all protocols: a network with detectors, or a folder of maps."""
    from anomseg.evaluation import ScoresDirectory

    if options.scores:
        scores = ScoresDirectory(options.scores, options.scores_name)
        return {"segmenter": None, "detectors": {}, "scores": scores}
    detectors = dict(open_detectors(named_detectors(options), options.seed))
    return {"segmenter": open_segmenter_for(list(detectors.values()), options), "detectors": detectors, "scores": None}


def _plan(options: Namespace, subject: dict[str, Any], protocol: str) -> Plan:
    from anomseg.evaluation import make_plan

    return make_plan(
        options.benchmark,
        options.root,
        **subject,
        split=options.split,
        layout=options.layout,
        held_out=[part.strip() for part in (options.held_out or "").split(",") if part.strip()],
        label_values=options.label_values,
        protocol=protocol,
        size=parse_size(options.size),
        shard=parse_shard(options.shard),
        seed=options.seed,
        allow_overlap=options.allow_overlap,
        limit=options.limit,
        bands=_parse_bands(options.band),
        open_set_from=options.open_set_from,
        task=options.task,
        unknown=options.unknown,
    )


def _evaluate_all(options: Namespace, subject: dict[str, Any]) -> int:
    """Every protocol on the same scores: one pass of the network, full results of each, one table."""
    from anomseg.cli.output import Progress, say
    from anomseg.evaluation import evaluate_protocols
    from anomseg.evaluation.protocols import FIRST, TABLE_FILE
    from anomseg.files import read_json
    from anomseg.inference.predictor import find_device
    from anomseg.report.protocols import protocols_text

    plan, out, device = _plan(options, subject, FIRST), Path(options.out), find_device(options.device)
    with Progress(f"evaluating on {options.benchmark}", options.quiet) as progress:
        cards = evaluate_protocols(
            plan, out, device, keep_maps=options.keep_maps, overwrite=options.overwrite, on_progress=progress
        )
    code = finish(options, cards[FIRST], out / FIRST, plan=plan, device=device)
    say("\n" + protocols_text(read_json(out / TABLE_FILE)), options.quiet)
    return code


def _evaluate(options: Namespace, subject: dict[str, Any]) -> int:
    from anomseg.cli.output import Progress, say
    from anomseg.evaluation import run_plan
    from anomseg.inference.predictor import find_device

    plan, out, device = _plan(options, subject, options.protocol), Path(options.out), find_device(options.device)
    with Progress(f"evaluating on {options.benchmark}", options.quiet) as progress:
        cards = run_plan(
            plan, out, device, keep_maps=options.keep_maps, overwrite=options.overwrite, on_progress=progress
        )
    if plan.shard is not None:
        say(
            f"shard {options.shard} of {options.benchmark} done; when all are, run 'anomseg merge DIR... --out OUT'",
            options.quiet,
        )
        return EXIT_OK
    return finish(options, cards, out, plan=plan, device=device)


def finish(options: Namespace, cards: list[dict[str, Any]], out: Path, *, plan: Any = None, device: Any = None) -> int:
    """Show the table, write the report, name what was skipped; shared with ``merge``."""
    from anomseg.cli.output import say, warn
    from anomseg.report import print_cards, write_run_report

    if not options.quiet:
        print_cards(cards)
    for text in cards[0].get("warnings") or [] if cards else []:
        warn(text)
    for card in cards:
        for text in (card.get("detector") or {}).get("warnings") or []:
            warn(f"{card['folder']}: {text}")
    if plan is not None and plan.task == "segmentation" and options.detector:
        warn("these frames have classes but nothing anomalous, so only the segmentation was evaluated; see --held-out")
    skipped = {(item["frame"], item["reason"]) for card in cards for item in card.get("skipped", [])}
    for frame, reason in sorted(skipped):
        warn(f"skipped {frame}: {reason}")
    if not options.no_report:
        more = {"frames_shown": options.report_frames} if plan is not None else {}
        write_run_report(out, cards, plan=plan, device=device, **more)
        say(f"report: {out / 'report.html'}", options.quiet)
    return EXIT_PARTIAL if skipped else EXIT_OK
