"""All figures of the learned methods out of finished runs: rows, paired differences, what works; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import learned_clean
import learned_costs
from learned_costs import split_counts
from learned_sets import (
    ALL_VARIANTS,
    FITS,
    KEPT,
    LATER,
    METHODS,
    OF_NETWORKS,
    OTHER,
    PLACED,
    SCORED,
    SETS,
    UNTRAINED,
    Bench,
    Paths,
    TrainingSet,
    row_name,
)
from learned_states import (
    brier_gain,
    difference,
    in_blocks,
    intervals_of,
    is_video,
    judged_gap,
    judged_in_blocks,
    judged_limits,
    load_states,
    logistic,
    mean_difference,
    part_of,
    pooled,
    probability_of,
    sequences,
)
from results_plan import CONTROLS

from anomseg.files import read_json
from anomseg.metrics import JudgedImages, PerImage, Resamples, resampled

Json = dict[str, Any]
FIGURES_FILE = "figures.json"
ALL_CONTROLS = (*CONTROLS, "position_prior-fitted")


def collect(paths: Paths) -> Json:
    """Everything that is finished, ready for JSON."""
    studies = []
    shared: dict[tuple[str, str], dict[str, Resamples]] = {}
    seeds: dict[tuple[str, str], list[tuple[Json, dict[str, Resamples]]]] = {}
    for one in SETS:
        for seed in one.seeds:
            for bench in one.benches:
                study, drawn = study_of(one, seed, bench, paths, shared.get((one.key, bench.name), {}))
                if study is None:
                    continue
                studies.append(study)
                kept = {name: resamples for name, resamples in drawn.items() if is_shared(name)}
                shared.setdefault((one.key, bench.name), kept)
                seeds.setdefault((one.key, bench.name), []).append((study, drawn))
    means = [over_seeds(made, shared[key]) for key, made in seeds.items() if len(made) > 1]
    found: Json = {"schema": 1, "tier": "cpu", "studies": studies, "over_seeds": means}
    clean, costs = paths.work / learned_clean.CLEAN_FILE, paths.work / learned_costs.COSTS_FILE
    if clean.is_file():
        counted = read_json(clean)
        titles = {key: one["title"] for key, one in counted["sets"].items()}
        frames = {key: len(one["frames"]) for key, one in counted["sets"].items()}
        found["clean"] = {"titles": titles, "frames": frames, "shares": learned_clean.shares(counted)}
    if costs.is_file():
        found["costs"] = read_json(costs)
    return found


def study_of(
    one: TrainingSet, seed: int, bench: Bench, paths: Paths, shared: Mapping[str, Resamples]
) -> tuple[Json | None, dict[str, Resamples]]:
    """One set, seed and benchmark: figures of all rows that are finished, and their resamples by row.

    Args:
        one: The set.
        seed: The seed.
        bench: The benchmark.
        paths: Where things lie.
        shared: Resamples of what was evaluated with another seed: of what does not depend on it, and the untrained.
    """
    rows: Json = {}
    drawn: dict[str, Resamples] = {}
    videos: list[bool] = []
    cards: dict[str, Json] = {}
    judged: dict[str, JudgedImages] = {}
    for network in ("host", KEPT, OTHER, LATER, PLACED):
        run = paths.run(one, seed, bench.name, network)
        for path in sorted(run.glob("*/metrics.json")):
            name = row_name(path.parent.name, network)
            cards[name] = read_json(path)
            if cards[name].get("detector") is None:
                continue
            frames, images = load_states(path.parent)
            state = in_blocks(frames)
            drawn[name] = resampled(state)
            videos.append(is_video(state))
            if images is not None:
                judged[name] = judged_in_blocks(images)
            rows[name] = row_of(name, cards[name], state, drawn[name], judged.get(name))
    if not rows:
        return None, {}
    for name in rows:
        rows[name]["miou"] = closed_miou(one, seed, name, cards[name], paths)
        rows[name]["training"] = training_of(paths.method(one, seed, ALL_VARIANTS.get(name, (name,))[0]))
    every = {**shared, **drawn}
    study: Json = {
        "set": one.key,
        "title": one.title,
        "seed": seed,
        "benchmark": bench.name,
        "held_out": list(one.held_out),
        "frames": next(iter(rows.values()))["frames"],
        "blocks": any(videos),
        "rows": rows,
        "differences": {
            f"{first} - {second}": difference(every[first], every[second])
            for first, second in pairs()
            if first in drawn and second in every
        },
        "judged": {
            f"{first} - {second}": judged_gap(judged[first], judged[second])
            for first, second in ((method.name, logits_beside(method.name)[0]) for method in METHODS)
            if first in judged and second in judged
        },
    }
    study["works"] = {
        method.name: works(method.name, study, rows[method.name]["training"])
        for method in SCORED
        if method.name in rows
    }
    return study, drawn


def over_seeds(made: Sequence[tuple[Json, Mapping[str, Resamples]]], shared: Mapping[str, Resamples]) -> Json:
    """One set and benchmark over its seeds: mean differences of what every seed has, and what works in the mean.

    Args:
        made: The study of each seed with its resamples by row.
        shared: Those that stand for all seeds.
    """
    first = made[0][0]
    states = [{**shared, **own} for _, own in made]
    differences = {
        f"{name} - {other}": mean_difference([one[name] for one in states], [one[other] for one in states])
        for name, other in pairs()
        if all(name in study["rows"] for study, _ in made) and all(other in one for one in states)
    }
    found: Json = {
        "set": first["set"],
        "benchmark": first["benchmark"],
        "seeds": [study["seed"] for study, _ in made],
        "differences": differences,
    }
    found["works"] = {
        method.name: works(method.name, found, worst_training([study["rows"][method.name] for study, _ in made]))
        for method in SCORED
        if all(method.name in study["rows"] for study, _ in made)
    }
    return found


def worst_training(rows: Sequence[Json]) -> Json | None:
    """Of the trainings of all seeds the one whose validation loss fell least; None where one has no record.

    Example:
        >>> fell, rose = {"validation_loss": [2.0, 1.0]}, {"validation_loss": [2.0, 2.5]}
        >>> worst_training([{"training": fell}, {"training": rose}])
        {'validation_loss': [2.0, 2.5]}
        >>> worst_training([{"training": fell}, {"training": None}])
    """
    trainings = [row["training"] for row in rows]
    if any(one is None or None in one["validation_loss"] for one in trainings):
        return None
    return max(trainings, key=lambda one: one["validation_loss"][1] - one["validation_loss"][0])


def is_shared(name: str) -> bool:
    """Whether a row stands for all seeds.

    Example:
        >>> [is_shared(name) for name in ("pgan-untrained", "chance", "not_road", "pgan")]
        [True, True, False, False]
    """
    return name.endswith(f"-{UNTRAINED}") or (name in ALL_CONTROLS and name not in OF_NETWORKS)


def logits_beside(name: str) -> tuple[str, ...]:
    """Rows of MSP and max logit of the network that a method scores.

    Example:
        >>> logits_beside("pans"), logits_beside("pgan")
        (('pans-msp', 'pans-max_logit'), ('msp', 'max_logit'))
    """
    plain = ("msp", "max_logit")
    attached = next(method.attached for method in SCORED if method.name == name)
    return plain if attached else tuple(f"{name}-{one}" for one in plain)


def pairs() -> list[tuple[str, str]]:
    """Which rows are compared: each method with its untrained version, its network's scores, fits and controls."""
    fitted = [name for name in FITS if name not in ALL_CONTROLS]
    found = []
    for method in SCORED:
        others = (f"{method.name}-{UNTRAINED}", *logits_beside(method.name), *fitted, *ALL_CONTROLS)
        found += [(method.name, other) for other in others]
    return found


def row_of(name: str, card: Mapping[str, Any], state: PerImage, drawn: Resamples, judged: JudgedImages | None) -> Json:
    """Figures of one detector on one benchmark."""
    seconds, frames = card.get("seconds") or {}, card["frames"]
    return {
        "kind": kind_of(name),
        "frames": frames,
        "prevalence": card["prevalence"],
        "pixel": card["pixel"],
        **intervals_of(drawn),
        "errors": error_rates(card["misclassified"], judged) if judged is not None else None,
        "probability": probability_part(card, state),
        "own_segmentation": card.get("own_segmentation"),
        "open_set": card.get("open_set"),
        "parameters": split_counts(card["parameter_counts"]),
        "seconds": {kind: seconds.get(key, 0.0) / frames for kind, key in (("pass", "forward"), ("own", "score"))},
        "parts": {
            sequence: {**pooled(part), **intervals_of(part)}
            for sequence in (sequences(state) if is_video(state) else ())
            for part in [part_of(state, sequence)]
        },
    }


def kind_of(name: str) -> str:
    """What a row is: ``learned``, ``untrained``, ``control`` or ``post-hoc``.

    Example:
        >>> [kind_of(name) for name in ("pgan", "pgan-untrained", "position_prior-fitted", "pans-msp")]
        ['learned', 'untrained', 'control', 'post-hoc']
    """
    if name.endswith(f"-{UNTRAINED}"):
        return "untrained"
    if name in ALL_CONTROLS:
        return "control"
    return "learned" if name in {method.name for method in SCORED} else "post-hoc"


def probability_part(card: Mapping[str, Any], state: PerImage) -> Json | None:
    """A bounded score read as a probability; of PGAN the one that its logistic curve gives, in the order of its score.

    Returns:
        ECE, Brier score, and how far that is below the Brier score of the prevalence; None of a score of other range.
    """
    if not card.get("probability"):
        return None
    detector = card["detector"]
    curve = (detector.get("extractor") or {}).get("probability_curve")
    if curve and detector["parameters"].get("probability") == "raw":
        mapped = logistic(state, *curve)
        return {**probability_of(mapped), "gain": brier_gain(mapped)}
    exact = {name: value for name, value in card["probability"].items() if name != "bins"}
    return {**exact, "gain": brier_gain(state)}


def error_rates(card: Mapping[str, Any], judged: JudgedImages) -> Json:
    """EFPR and CFPR of a card, at 95 % recall and at equal FPR, with intervals."""
    equal = card["share_of_false_positives"]
    share, base = equal["misclassified"], equal["base"]
    return {
        "efpr95": card["efpr95"],
        "cfpr95": card["cfpr95"],
        "efpr_at_fpr": equal["efpr"],
        "cfpr_at_fpr": equal["cfpr"],
        "share": share,
        "base": base,
        "share_less_base": share - base if share is not None and base is not None else None,
        "ci95": judged_limits(judged),
    }


def closed_miou(one: TrainingSet, seed: int, name: str, card: Mapping[str, Any], paths: Paths) -> float | None:
    """Closed-set mIoU of the network that a row scores; from the run on CamVid test where the set has no classes."""
    if card.get("open_set"):  # not that of the run's own network, which an untrained PAnS does not score
        return float(card["open_set"]["closed_miou"])
    if name == f"pans-{UNTRAINED}":
        return None
    network = KEPT if name.startswith("pans") else "host"
    cards = sorted(paths.run(one, seed, "closed", network).glob("*/metrics.json"))
    found = read_json(cards[0]).get("segmentation") if cards else None
    return float(found["miou"]) if found else None


def training_of(folder: Path) -> Json | None:
    """What a method's training took, of its stages' summaries; None where it was not trained."""
    summaries = [read_json(path) for path in sorted(folder.glob("stages/*/stage.json"))]
    told = [one["summary"] for one in summaries if one.get("summary")]
    last = next((one for one in told if "validation_start" in one), None)
    if last is None:
        return None
    losses = [one.get("val_loss") for one in (last["validation_start"], last["validation"])]
    return {
        "recipe": last.get("recipe"),
        "seed": last.get("seed"),
        "steps": last["steps"],
        "images_seen": last["images_seen"],
        "seconds": last["seconds"],
        "seconds_before": round(sum(one.get("seconds") or 0.0 for one in told if one is not last), 1),
        "validation_loss": losses,
        "validation": last["validation"],
    }


def works(
    name: str, study: Mapping[str, Any], training: Mapping[str, Any] | None, untrained: str | None = None
) -> Json:
    """Whether a row works on a set by the project's rule, and what speaks against it.

    It does where the interval of its paired AP difference lies above 0 against every control and against the same
    pipeline untrained, and its validation loss fell.

    Args:
        name: The row.
        study: Its set and benchmark, with all paired differences.
        training: The record of its training.
        untrained: The row of the same pipeline untrained, where it has another name than usual.
    """
    reasons = []
    for other in (*ALL_CONTROLS, untrained or f"{name}-{UNTRAINED}"):
        found = study["differences"].get(f"{name} - {other}")
        if found is None:
            reasons.append(f"not compared with {other}")
        elif not found["ap"]["ci95"] or found["ap"]["ci95"][0] <= 0:
            reasons.append(f"not above {other}")
    losses = (training or {}).get("validation_loss") or [None, None]
    if None in losses:
        reasons.append("no validation loss")
    elif not losses[1] < losses[0]:
        reasons.append("validation loss did not fall")
    return {"works": not reasons, "against": reasons}
