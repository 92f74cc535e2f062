"""Cheaper banks: approximate engines and compressed rows, with what they lose on real features."""

from __future__ import annotations

from statistics import median

import torch
from knn_choice import Choice
from knn_measure import Measured, difference, of_cells, tally
from knn_search import Cells, means, search, seconds_a_frame
from knn_study import Json, Study
from torch import Tensor

from anomseg.detectors.knn.compression import compress
from anomseg.detectors.knn.search import NeighborIndex, build_index, recall

ROWS = 100_000
ENGINES: tuple[tuple[str, dict[str, object]], ...] = (("ivf", {}), ("hnsw", {}), ("pq", {}))
SMALL = (1_000, 4_000)
TIMED = 3


def _measure(study: Study, choice: Choice, index: NeighborIndex, cells: Cells) -> tuple[Measured, list[Tensor]]:
    """State and distances ``(n, k)`` of an index on the test set."""
    frames = study.frames(study.network.test)
    found = search(frames, choice.layer, index, choice.k, cells)
    tallies = [tally(one, choice.layer, cells) for one in frames]
    return of_cells(frames, tallies, [means(own, choice.k) for own in found]), found


def approximate(study: Study, choice: Choice) -> Json:
    """Recall, AP and seconds of each approximate engine beside the exact one."""
    test, layer = study.network.test, choice.layer
    cells = study.cells(test, layer)

    def make() -> Json:
        bank = study.bank(layer).first(ROWS).vectors().to(torch.float32)
        timed = study.frames(test)[:TIMED]
        exact = build_index(bank, engine="exact")
        truth, distances = _measure(study, choice, exact, cells)
        engines: Json = {}
        for name, options in (("exact", {}), *ENGINES):
            index = build_index(bank, engine=name, **options)
            state, found = _measure(study, choice, index, cells)
            engines[name] = {
                "options": options,
                "recall": recall(torch.cat(distances), torch.cat(found)),
                "figures": state.figures(),
                "less_exact": difference(state, truth),
                "seconds": median(seconds_a_frame(timed, layer, index, choice.k)),
            }
            study.say(f"{name}: recall {engines[name]['recall']:.3f}, AP {state.result.ap:.3f}")
        return {"protocol": study.protocol(test, cells), "rows": len(bank), "engines": engines}

    return study.once("approximate", make, choice=choice.as_json(), rows_searched=ROWS, step=cells.step)


def compressed(study: Study, choice: Choice) -> Json:
    """AP of k-means centres and of a coreset beside a plain sample of as many rows, and beside their source."""
    test, layer = study.network.test, choice.layer
    cells = study.cells(test, layer)

    def make() -> Json:
        source = study.bank(layer).first(study.rows).vectors().to(torch.float32)
        truth, _ = _measure(study, choice, build_index(source), cells)
        banks: Json = {f"source, {len(source)} rows": truth}
        for size in SMALL:
            if size < len(source):
                banks[f"sample of {size}"] = source[:size]
                banks[f"k-means, {size} centres"] = compress(source, size, "kmeans")
                banks[f"coreset of {size}"] = compress(source, size, "coreset")
        found: Json = {}
        for name, bank in banks.items():
            state = bank if isinstance(bank, Measured) else _measure(study, choice, build_index(bank), cells)[0]
            found[name] = {"figures": state.figures(), "less_source": difference(state, truth)}
            study.say(f"{name}: AP {state.result.ap:.3f}")
        return {"protocol": study.protocol(test, cells), "source": len(source), "banks": found}

    return study.once("compression", make, choice=choice.as_json(), small=SMALL, step=cells.step)
