"""The chosen configuration beside everything it is compared with, on the same pixels, with paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from knn_cache import PARAMETRIC, CachedFrame
from knn_choice import Choice
from knn_density import CONTROLS, DENSITIES, control_map, densities, density_scores
from knn_measure import Map, Measured, difference, false_alarms, of_cells, of_maps, spread, tally
from knn_plan import FrameSet
from knn_search import Cells, greatest_distance, nested_search
from knn_study import Json, NotMeasured, Study
from numpy.typing import NDArray

from anomseg.detectors.features import default_feature
from anomseg.metrics import PerImage
from anomseg.scores import combine_dnp

PARTS = ("knn", "cdnp:energy", "energy", "max_logit")
ALARMS = ("knn", "cdnp:energy", *PARAMETRIC, *DENSITIES)
States = dict[str, Measured]
Cellwise = Mapping[str, Sequence[NDArray[np.float32]]]


def pairs() -> list[tuple[str, str]]:
    """The differences that the claims ask for, first less second."""
    found = [("knn", name) for name in (*PARAMETRIC, *DENSITIES, *CONTROLS)]
    for name in PARAMETRIC:
        found += [(f"cdnp:{name}", name), (f"cdnp:{name}", "knn")]
    return found + [("cdnp:energy", name) for name in CONTROLS]


def ranges(study: Study, k: int, layer: str) -> Json:
    """Ranges over the bank that cDNP divides by: of each parametric score, and the greatest distance."""

    def make() -> Json:
        records = [one.record["ranges"] for one in study.frames(study.network.bank)]
        found = {
            name: [min(own[name][0] for own in records), max(own[name][1] for own in records)] for name in PARAMETRIC
        }
        return {"parametric": found, "distance": greatest_distance(study.bank(layer), k)}

    return study.once(f"ranges-{layer}-{k}", make, k=k, layer=layer)


def distances(study: Study, which: FrameSet, choice: Choice) -> list[NDArray[np.float32]]:
    """The chosen distance of every cell of every frame."""
    rows = study.bank(choice.layer)
    found = nested_search(study.frames(which), rows, [study.rows], [choice.k], Cells(), study.say)
    return next(iter(found.values()))


def maps_of(choice: Choice, cellwise: Cellwise, span: Json) -> dict[str, Map]:
    """Every score as maps at label size."""

    def of_layer(name: str) -> Map:
        return lambda place, one: spread(one, choice.layer, cellwise[name][place], choice.upsample)

    def combined(name: str) -> Map:
        low, high = span["parametric"][name]

        def score(place: int, one: CachedFrame) -> NDArray[np.float32]:
            parametric, distance = (torch.from_numpy(part) for part in (one.map(name), of_layer("knn")(place, one)))
            return combine_dnp(parametric, distance, (low, high), span["distance"]).numpy()

        return score

    def parametric(name: str) -> Map:
        return lambda _, one: one.map(name)

    return {
        **{name: of_layer(name) for name in cellwise},
        **{f"cdnp:{name}": combined(name) for name in PARAMETRIC},
        **{name: parametric(name) for name in PARAMETRIC},
        **{name: control_map(name) for name in CONTROLS},
    }


def all_cells(study: Study, which: FrameSet, choice: Choice) -> Cellwise:
    """Distance and densities of every cell of every frame."""
    frames, layer = study.frames(which), choice.layer
    bank, classes = study.frames(study.network.bank), study.cache.segmenter.classes
    formulas = study.keep(f"densities-{layer}", lambda: densities(bank, layer, classes, study.say))
    found = {"knn": distances(study, which, choice)}
    for name, formula in formulas.items():
        found[name] = [density_scores(one, layer, formula) for one in frames]
        study.say(f"{name} on {which.title}")
    return found


def _states(study: Study, which: FrameSet, choice: Choice, maps: Mapping[str, Map], cellwise: Cellwise) -> States:
    """Measure maps one after the other; cells that are repeated over their pixels without making the map."""
    frames = study.frames(which)
    tallies = [tally(one, choice.layer, Cells()) for one in frames]
    states = {}
    for name, score in maps.items():
        if name in cellwise and choice.upsample == "nearest":
            states[name] = of_cells(frames, tallies, cellwise[name])
        else:
            states[name] = of_maps(frames, score)
        study.say(f"{which.title}: {name} AP {states[name].result.ap:.3f}")
    return states


def headline(study: Study, which: FrameSet, choice: Choice) -> Json:
    """Figures, differences and thresholds at full label resolution."""

    def make() -> Json:
        frames, layer = study.frames(which), choice.layer
        cellwise = all_cells(study, which, choice)
        maps = maps_of(choice, cellwise, ranges(study, choice.k, layer))
        states = _states(study, which, choice, maps, cellwise)
        for name, state in states.items():
            state.per_image.save(state_path(study, which, name))
        return {
            "protocol": study.protocol(which),
            "choice": choice.as_json(),
            "figures": {name: state.figures() for name, state in states.items()},
            "differences": {f"{one} - {two}": difference(states[one], states[two]) for one, two in pairs()},
            "thresholds": {name: states[name].threshold for name in ALARMS},
            "parts": parts(frames, maps),
        }

    return study.once(f"headline-{which.key}", make, choice=choice.as_json())


def usual(study: Study, which: FrameSet, choice: Choice) -> Json:
    """The library's own defaults beside the choice: layer ``auto``, k = 3, nearest; nothing of it was chosen.

    What does not read the features is taken over from the headline.

    Raises:
        NotMeasured: The default layer is none of those tried.
    """
    layer = default_feature(study.cache.segmenter)
    if layer not in study.network.layers:
        raise NotMeasured("usual")
    plain = Choice(layer, 3, "nearest")
    kept = headline(study, which, choice)

    def make() -> Json:
        cellwise = all_cells(study, which, plain)
        maps = maps_of(plain, cellwise, ranges(study, plain.k, layer))
        own = {name: score for name, score in maps.items() if name in cellwise or name.startswith("cdnp:")}
        states = _states(study, which, plain, own, cellwise)
        every: dict[str, Measured | PerImage] = {
            name: states[name] if name in states else PerImage.load(state_path(study, which, name)) for name in maps
        }
        return {
            "protocol": study.protocol(which),
            "choice": plain.as_json(),
            "figures": {name: states[name].figures() if name in states else kept["figures"][name] for name in maps},
            "differences": {f"{one} - {two}": difference(every[one], every[two]) for one, two in pairs()},
            "parts": {},
        }

    return study.once(f"usual-{which.key}", make, choice=plain.as_json())


def state_path(study: Study, which: FrameSet, name: str) -> Path:
    """Where the histograms of a score are kept, for comparisons between networks."""
    return study.out / "states" / study.network.key / which.key / f"{name.replace(':', '+')}.state"


def parts(frames: Sequence[CachedFrame], maps: Mapping[str, Map]) -> Json:
    """Figures of single sequences where a set is made of a few."""
    sequences = sorted({one.frame.cluster.partition("/")[0] for one in frames if "/" in one.frame.cluster})
    found: Json = {}
    for sequence in sequences:
        places = [place for place, one in enumerate(frames) if one.frame.cluster.startswith(f"{sequence}/")]
        own = [frames[place] for place in places]
        found[sequence] = {name: of_maps(own, chosen(maps[name], places)).figures() for name in PARTS}
    return found


def chosen(score: Map, places: Sequence[int]) -> Map:
    """The maps of some of the frames, counted anew."""
    return lambda place, one: score(places[place], one)


def clean(study: Study, which: FrameSet, choice: Choice, thresholds: Json) -> Json:
    """False alarms on frames without anomalies, at the thresholds that find 95 % on the test set."""

    def make() -> Json:
        maps = maps_of(choice, all_cells(study, which, choice), ranges(study, choice.k, choice.layer))
        alarms = {}
        for name in ALARMS:
            alarms[name] = false_alarms(study.frames(which), maps[name], thresholds[name])
            study.say(f"{which.title}: {name} {alarms[name]['share']:.3f}")
        return {"protocol": study.protocol(which), "alarms": alarms}

    return study.once(f"clean-{which.key}", make, choice=choice.as_json(), thresholds=thresholds)
