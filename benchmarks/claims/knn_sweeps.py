"""How AP moves with k, rows and images in the bank, with engines and with compressed banks."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from knn_bank import Rows
from knn_choice import Choice
from knn_measure import Measured, Tally, difference, of_cells, tally
from knn_search import Cells, nested_search, seconds_a_frame
from knn_study import KS, Json, Study

from anomseg.detectors.knn.search import build_index
from anomseg.segmenters import make_scene

SIZES = (1_000, 10_000, 40_000, 100_000)
LARGEST_CELLS = 250
IMAGES = (1, 5, 20, 100)
SEEDS = (0, 1, 2)
TIMED = 3


def _searched(study: Study, rows: Rows, sizes: Sequence[int], ks: Sequence[int], cells: Cells) -> dict[str, Measured]:
    """States on the test set by ``rows/k``."""
    frames = study.frames(study.network.test)
    tallies: list[Tally] = [tally(one, rows.layer, cells) for one in frames]
    found = nested_search(frames, rows, sizes, ks, cells, study.say)
    return {f"{size}/{k}": of_cells(frames, tallies, own) for (size, k), own in found.items()}


def rows_and_k(study: Study, choice: Choice) -> Json:
    """Rows and k, seed 0 for all pairs and two more seeds at the chosen k; differences to the chosen pair."""
    test, layer = study.network.test, choice.layer
    cells = study.cells(test, layer)

    def make() -> Json:
        usual = min(study.rows, len(study.bank(layer)))
        sizes = sorted({usual, *(size for size in SIZES if size <= len(study.bank(layer)))})
        states = _searched(study, study.bank(layer), sizes, KS, cells)
        own = f"{usual}/{choice.k}"
        more = {}
        for seed in SEEDS[1:]:
            smaller = [size for size in sizes if size <= usual]
            found = _searched(study, study.bank(layer, seed), smaller, [choice.k], cells)
            more[str(seed)] = {key: state.figures() for key, state in found.items()}
        return {
            "protocol": study.protocol(test, cells, SEEDS),
            "figures": {key: state.figures() for key, state in states.items()},
            "differences": {key: difference(state, states[own]) for key, state in states.items() if key != own},
            "seeds": more,
        }

    return study.once("rows-k", make, choice=choice.as_json(), sizes=SIZES, step=cells.step)


def all_rows(study: Study, choice: Choice) -> Json:
    """Every row of the bank against as many as the headline uses, on fewer cells."""
    test, layer = study.network.test, choice.layer
    cells = study.cells(test, layer, LARGEST_CELLS)

    def make() -> Json:
        everything = len(study.bank(layer))
        states = _searched(study, study.bank(layer), [study.rows, everything], [choice.k], cells)
        few, many = (states[f"{size}/{choice.k}"] for size in (min(study.rows, everything), everything))
        return {
            "protocol": study.protocol(test, cells),
            "rows": [min(study.rows, everything), everything],
            "figures": {"headline": few.figures(), "all": many.figures()},
            "difference": difference(few, many),
        }

    return study.once("rows-all", make, choice=choice.as_json(), step=cells.step)


def images(study: Study, choice: Choice) -> Json:
    """Images in the bank, three draws of them each; differences of each number to all images."""
    test, layer = study.network.test, choice.layer
    cells = study.cells(test, layer)

    def make() -> Json:
        total = len(study.frames(study.network.bank))
        counts = [*(count for count in IMAGES if count < total), total]
        found: Json = {}
        for seed in SEEDS:
            states = {}
            for count in counts:
                rows = study.bank(layer).of_images(count, seed).first(study.rows)
                (states[count],) = _searched(study, rows, [len(rows)], [choice.k], cells).values()
                study.say(f"{count} images, draw {seed}: {len(rows)} rows, AP {states[count].result.ap:.3f}")
            found[str(seed)] = {
                str(count): {"figures": state.figures(), "less_all": difference(state, states[total])}
                for count, state in states.items()
            }
        return {"protocol": study.protocol(test, cells, SEEDS), "total": total, "draws": found}

    return study.once("images", make, choice=choice.as_json(), images=IMAGES, step=cells.step)


def timing(study: Study, choice: Choice) -> Json:
    """Seconds a frame of the exact search over all cells, beside the forward pass of the network."""
    test, layer = study.network.test, choice.layer

    def make() -> Json:
        frames = study.frames(test)[:TIMED]
        rows = study.bank(layer)
        taken = {}
        for size in SIZES:
            if size <= len(rows):
                index = build_index(rows.first(size).vectors(), engine="exact")
                taken[str(size)] = seconds_a_frame(frames, layer, index, choice.k)
        forward = forward_seconds(study, TIMED)
        queries = int(frames[0].features(layer).shape[0])
        return {"protocol": study.protocol(test), "queries": queries, "search": taken, "forward": forward}

    return study.once("timing", make, choice=choice.as_json(), sizes=SIZES)


def forward_seconds(study: Study, count: int) -> list[float]:
    """Wall seconds of the network's pass over each of some frames, after one that is not counted."""
    taken = []
    with torch.inference_mode():
        for one in [study.frames(study.network.test)[0], *study.frames(study.network.test)[:count]]:
            scene = make_scene([one.frame.image()], [one.name], study.cache.segmenter)
            start = time.perf_counter()
            _ = scene.output
            taken.append(time.perf_counter() - start)
    return taken[1:]
