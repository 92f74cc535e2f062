"""Tables and figures for the claims K1 to K6 of dense k-NN, by one command.

    python benchmarks/claims/knn.py --data DIR --weights ERFNET.safetensors [--held-out DIR]
        [--transformer DIR --convolution DIR] [--work runs/claims-knn] [--doc docs/claims-knn.md]

DIR holds anomaly/RoadAnomaly, anomaly/RoadAnomaly21, camvid and idd_lite. Features and parametric scores of each frame
are computed once and kept, and so is every finished unit of work: the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from claim_record import Entry, of_verdicts, write_record
from knn_cache import Cache
from knn_choice import choose, layer_figures, upsampling
from knn_figures import FIGURES
from knn_headline import clean, headline, usual
from knn_networks import compare, rival, untouched
from knn_page import CLAIMS, page
from knn_plan import HELD_OUT, FrameSet, Network, bundled, erfnet, held_out
from knn_reduced import approximate, compressed
from knn_study import ROWS, Json, NotMeasured, Study
from knn_sweeps import all_rows, images, rows_and_k, timing
from knn_verdicts import (
    Check,
    Verdict,
    beats_controls,
    beats_parametric_density,
    combines,
    leaves_primary,
    over_networks,
    robust,
    small_banks,
    transformer_suits,
)

from anomseg.errors import AnomsegError, ConfigError
from anomseg.files import read_json, write_bytes, write_json, write_text


def units(study: Study) -> dict[str, Callable[[], Json]]:
    """Everything one network is measured in, the most telling first; later ones may use what `choose` has settled."""
    network, choice = study.network, choose(study)

    def over_layers(which: FrameSet) -> Json:
        return {layer: layer_figures(study, which, layer) for layer in network.layers}

    def over_clean() -> Json:
        thresholds = headline(study, network.test, choice)["thresholds"]
        return {one.key: clean(study, one, choice, thresholds) for one in network.clean}

    swept = {
        "timing": lambda: timing(study, choice),
        "rows_k": lambda: rows_and_k(study, choice),
        "images": lambda: images(study, choice),
        "rows_all": lambda: all_rows(study, choice),
        "approximate": lambda: approximate(study, choice),
        "compression": lambda: compressed(study, choice),
    }
    return {
        "choice": choice.as_json,
        "upsampling": lambda: upsampling(study, choice.layer, choice.k),
        "layers": lambda: over_layers(network.select),
        "headline": lambda: headline(study, network.test, choice),
        **(swept if network.swept else {}),
        "untouched": lambda: untouched(study, choice),
        "clean": over_clean,
        "layers_test": lambda: over_layers(network.test),
        "usual": lambda: usual(study, network.test, choice),
        "headline_select": lambda: headline(study, network.select, choice),
    }


def measured(study: Study, only: Sequence[str] = ()) -> Json:
    """All units of a network, or those named; only the finished ones where nothing is to be measured."""
    found: Json = {"note": study.network.note}
    try:
        wanted = units(study)
    except NotMeasured:
        return found
    for name, make in wanted.items():
        if only and name not in only:
            continue
        with suppress(NotMeasured):
            found[name] = make()
    return found


def verdicts_of(title: str, found: Json) -> list[Verdict]:
    """The verdicts of one network, of what has been measured."""
    verdicts = []
    if "images" in found and "timing" in found:
        verdicts.append(small_banks(title, found["images"], found["timing"]))
    if "rows_k" in found:
        verdicts.append(robust(title, found["rows_k"], found.get("rows_all")))
    if "headline" in found:
        verdicts += [combines(title, found["headline"]), beats_parametric_density(title, found["headline"])]
    if "compared" in found:
        verdicts.append(transformer_suits(title, found["compared"]))
    if "untouched" in found:
        verdicts.append(leaves_primary(title, found["untouched"]))
    for unit, kind in (("headline", "chosen"), ("usual", "defaults")):
        if unit in found:
            names = ("knn", "cdnp:energy")
            verdicts += [beats_controls(f"{title}, {name}, {kind}", found[unit], name) for name in names]
    return verdicts


def networks(options: argparse.Namespace) -> list[Network]:
    """The networks asked for; the two of K5 last."""
    found = [*([erfnet(options.weights, options.erfnet_every)] if options.weights else []), bundled()]
    if options.held_out:
        found.append(held_out(options.held_out))
    sides = [options.transformer or [], options.convolution or []]
    if len(sides[0]) != len(sides[1]):
        raise ConfigError("--transformer and --convolution go in pairs; give one as often as the other")
    for transformer, convolution in zip(*sides, strict=True):
        found += [rival("transformer", transformer), rival("convolution", convolution)]
    return [one for one in found if not options.only or one.key.removesuffix(f"-no-{HELD_OUT}") in options.only]


def measure(options: argparse.Namespace) -> dict[str, Json]:
    """All units, network by network."""
    found: dict[str, Json] = {}
    studies: dict[str, Study] = {}
    for network in networks(options):
        cache = Cache(options.work / "cache", network, options.data, options.limit)
        study = Study(network, cache, options.work / "units", options.rows, finished_only=options.page)
        if not options.page:
            cache.fill(study.say)
        found[network.title], studies[network.key] = measured(study, options.unit or ()), study
    for ending in ("", f"-no-{HELD_OUT}"):
        pair = [studies[key] for key in (f"transformer{ending}", f"convolution{ending}") if key in studies]
        if len(pair) == 2 and all("headline" in found[study.network.title] for study in pair):
            found[pair[0].network.title]["compared"] = compare(*pair)
    return found


def write(options: argparse.Namespace, studies: dict[str, Json]) -> None:
    """The document, its pictures, and everything as JSON."""
    verdicts = [verdict for title, found in studies.items() for verdict in verdicts_of(title, found)]
    write_json(options.work / RESULTS_FILE, {"studies": studies, "verdicts": [asdict(one) for one in verdicts]})
    drawn = {}
    for name, (needed, make) in FIGURES.items():
        having = {title: found for title, found in studies.items() if needed in found and "choice" in found}
        if having:
            write_bytes(options.doc.parent / "pictures" / f"{name}.png", make(having))
            drawn[name] = list(having)
    words = ["python benchmarks/claims/knn.py --data DATA"]
    defaults = parsed(["--data", "DATA"])
    for name, text in SHOWN.items():
        value = getattr(options, name)
        if value != getattr(defaults, name):
            words.append(f"--{name.replace('_', '-')} {text.format(value)}")
    write_text(options.doc, page(studies, verdicts, list(drawn), " ".join(words), options.rows))
    write_record(options.doc, [record(claim, studies, verdicts) for claim in CLAIMS])
    for verdict in verdicts:
        sys.stdout.write(f"{verdict.claim} {verdict.network}: {verdict.word}\n")
    sys.stdout.write(f"written to {options.doc}\n")


def recorded(options: argparse.Namespace) -> None:
    """The record beside the page once more, out of what was written with the page."""
    content = read_json(options.work / RESULTS_FILE)
    verdicts = [
        Verdict(one["claim"], one["network"], one["word"], tuple(Check(**check) for check in one["checks"]))
        for one in content["verdicts"]
    ]
    write_record(options.doc, [record(claim, content["studies"], verdicts) for claim in CLAIMS])


def record(claim: str, studies: dict[str, Json], verdicts: Sequence[Verdict]) -> Entry:
    """What all networks say of one claim."""
    own = [verdict for verdict in verdicts if verdict.claim == claim]
    known = {title: found["headline"]["protocol"] for title, found in studies.items() if "headline" in found}
    frames = {title: int(protocol["frames"]) for title, protocol in known.items()}
    seeds = sorted({int(seed) for protocol in known.values() for seed in protocol["seeds"]})
    return of_verdicts(claim, CLAIMS[claim], over_networks([one.word for one in own]), own, frames, seeds)


RESULTS_FILE = "results.json"
SHOWN = {
    "weights": "ERFNET",
    "erfnet_every": "{}",
    "held_out": f"camvid-no-{HELD_OUT}",
    "transformer": "TRANSFORMER",
    "convolution": "CONVOLUTION",
    "rows": "{}",
    "limit": "{}",
}


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, default=None, help="an ERFNet checkpoint trained on Cityscapes")
    parser.add_argument("--held-out", type=Path, default=None, help=f"a network trained without {HELD_OUT}s")
    parser.add_argument("--transformer", type=Path, action="append", help="for K5, with --convolution; may repeat")
    parser.add_argument("--convolution", type=Path, action="append", help="for K5, with --transformer; may repeat")
    parser.add_argument("--work", type=Path, default=Path("runs/claims-knn"), help="cache, units and results.json")
    parser.add_argument("--doc", type=Path, default=Path("docs/claims-knn.md"), help="the document")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of the bank where they are not what varies")
    parser.add_argument("--limit", type=int, default=None, help="so many frames of each set, to try the command")
    parser.add_argument("--erfnet-every", type=int, default=1, help="so-manieth bank frames of ERFNet, to bound time")
    only = ("erfnet", "bundled", "held-out", "transformer", "convolution")
    parser.add_argument("--only", action="append", choices=only, help="these networks, and no document; may repeat")
    units_help = "these units of work, such as headline or images, and no document; may repeat"
    parser.add_argument("--unit", action="append", help=units_help)
    parser.add_argument("--page", action="store_true", help="write the document from the units that are finished")
    again = "write only the JSON beside the document, out of results.json in the work folder"
    parser.add_argument("--record", action="store_true", help=again)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    options = parsed(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        if options.record:
            recorded(options)
            return
        studies = measure(options)
        if not (options.only or options.unit):
            write(options, studies)
    except AnomsegError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
