"""All figures of what teaches with outliers out of finished runs: rows, paired differences, what works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import learned_figures
from learned_costs import split_counts
from learned_figures import ALL_CONTROLS
from learned_states import (
    difference,
    in_blocks,
    intervals_of,
    is_video,
    load_states,
    mean_difference,
    part_of,
    pooled,
    sequences,
)
from outliers_plan import FLOW, OF_NETWORKS, SEEDS
from outliers_sets import (
    BAND,
    FITS,
    HEADLINE,
    LIKELIHOOD,
    LOGITS,
    MEASURES,
    SETS,
    UNTRAINED,
    VERSIONS,
    WHOLE,
    WITHOUT,
    Bench,
    Paths,
    TrainingSet,
)
from outliers_states import band_state, control_state, paste_gap
from results_plan import CONTROLS

from anomseg.files import read_json
from anomseg.metrics import PerImage, Resamples, resampled

Json = dict[str, Any]
FIGURES_FILE = "figures.json"
LEARNED = {version.name for version in VERSIONS} - {WITHOUT} | {f"{HEADLINE}-{ending}" for ending in MEASURES}
STAGE_OF = {version.name: version.stage for version in VERSIONS}


def collect(paths: Paths) -> Json:
    """Everything that is finished, ready for JSON."""
    studies, means = [], []
    for one in SETS:
        for bench in one.benches:
            shared: dict[str, Resamples] = {}
            made = []
            for seed in SEEDS:
                study, drawn = study_of(one, seed, bench, paths, shared)
                if study is not None:
                    made.append((study, drawn))
            studies += [study for study, _ in made]
            if len(made) > 1:
                means.append(over_seeds(made, shared))
    return {"schema": 1, "tier": "cpu", "studies": studies, "over_seeds": means}


def study_of(
    one: TrainingSet, seed: int, bench: Bench, paths: Paths, shared: dict[str, Resamples]
) -> tuple[Json | None, dict[str, Resamples]]:
    """One set, seed and benchmark: figures of all rows that are finished, and their resamples by row.

    Args:
        one: The set.
        seed: The seed.
        bench: The benchmark.
        paths: Where things lie.
        shared: Resamples of what does not depend on the seed, by row; the first seed fills it.
    """
    rows: Json = {}
    drawn: dict[str, Resamples] = {}
    bands: dict[str, PerImage] = {}
    videos = []
    for network in ("host", *networks(seed)):
        for path in sorted(paths.run(one, seed, bench.name, network).glob("*/metrics.json")):
            card = read_json(path)
            if card.get("detector") is None:
                continue
            name = row_name(path.parent.name, network, card["detector"])
            state = in_blocks(load_states(path.parent)[0])
            drawn[name] = resampled(state)
            videos.append(is_video(state))
            rows[name] = row_of(name, card, drawn[name])
            rows[name]["miou"] = closed_miou(one, seed, network, card, paths)
            rows[name]["training"] = training_of(paths.version(one, seed, network), STAGE_OF.get(network, ""))
            rows[name]["parts"] = parts_of(state) if seed == SEEDS[0] else {}
            band, control = band_state(path.parent, BAND), control_state(path.parent)
            if band is not None:
                bands[name] = band
                rows[name]["band"] = {**pooled(band), **intervals_of(band)}
            rows[name]["paste_control"] = paste_gap(control) if control is not None else None
    if not rows:
        return None, {}
    for name, resamples in drawn.items():
        if is_shared(name):
            shared.setdefault(name, resamples)
    every = {**shared, **drawn}
    study: Json = {
        "set": one.key,
        "title": one.title,
        "seed": seed,
        "bench": bench.name,
        "held_out": list(one.held_out),
        "frames": next(iter(rows.values()))["frames"],
        "blocks": any(videos),
        "rows": rows,
        "differences": {
            f"{first} - {second}": difference(drawn[first], every[second])
            for first in sorted((LEARNED | {LIKELIHOOD}) & set(drawn))
            for second in rivals(first)
            if second in every
        },
        "band_differences": {
            f"{first} - {WHOLE}": difference(bands[first], bands[WHOLE])
            for first in (HEADLINE,)
            if first in bands and WHOLE in bands
        },
    }
    study["works"] = {name: works(name, study) for name in sorted(LEARNED & set(rows))}
    return study, drawn


def over_seeds(made: Sequence[tuple[Json, Mapping[str, Resamples]]], shared: Mapping[str, Resamples]) -> Json:
    """One set and benchmark over its seeds: mean differences of what every seed has, and what works in the mean.

    Args:
        made: The study of each seed with its resamples by row.
        shared: Those that stand for all seeds.
    """
    first = made[0][0]
    states = [{**shared, **own} for _, own in made]
    names = sorted(LEARNED.intersection(*(set(study["rows"]) for study, _ in made)))
    found: Json = {
        "set": first["set"],
        "bench": first["bench"],
        "seeds": [study["seed"] for study, _ in made],
        "differences": {
            f"{name} - {other}": mean_difference([one[name] for one in states], [one[other] for one in states])
            for name in names
            for other in rivals(name)
            if all(other in one for one in states)
        },
    }
    found["works"] = {
        name: learned_figures.works(
            name,
            found,
            learned_figures.worst_training([study["rows"][name] for study, _ in made]),
            bare_of(base_of(name)),
        )
        for name in names
    }
    return found


def networks(seed: int) -> list[str]:
    """Folders of the runs of one seed, beside the host's."""
    bare = [f"{name}-{UNTRAINED}" for name in (HEADLINE, "synthetic")] if seed == SEEDS[0] else []
    return [version.name for version in VERSIONS if seed in version.seeds] + bare + ([FLOW] if bare else [])


def parts_of(state: PerImage) -> Json:
    """Figures of each sequence apart, where frames come in sequences: one of CamVid's continues a training sequence."""
    parts = {sequence: part_of(state, sequence) for sequence in (sequences(state) if is_video(state) else ())}
    return {sequence: {**pooled(part), **intervals_of(part)} for sequence, part in parts.items()}


def training_of(folder: Path, stage: str) -> Json | None:
    """What a version's training took, of its stages' summaries; None where it was not trained.

    Args:
        folder: Of the version.
        stage: The stage whose steps are the training.
    """
    record = folder / "stages" / stage / "stage.json"
    last = (read_json(record).get("summary") or {}) if stage and record.is_file() else {}
    if "validation_start" not in last:
        return None
    others = [path for path in sorted(folder.glob("stages/*/stage.json")) if path != record]
    before = [(read_json(path).get("summary") or {}).get("seconds") or 0.0 for path in others]
    return {
        "recipe": last.get("recipe"),
        "seed": last.get("seed"),
        "steps": last["steps"],
        "images_seen": last["images_seen"],
        "seconds": last["seconds"],
        "seconds_before": round(sum(before), 1),
        "validation_loss": [one.get("val_loss") for one in (last["validation_start"], last["validation"])],
        "validation_start": last["validation_start"],
        "validation": last["validation"],
        "negatives": last.get("negatives"),
    }


def row_name(folder: str, network: str, detector: Mapping[str, Any]) -> str:
    """The name of a row, from where its card lies and what it is of.

    Example:
        >>> row_name("negatives", "negatives", {"parameters": {"measure": "auto"}})
        'negatives'
        >>> row_name("noisy_negatives-2", "negatives", {"parameters": {"measure": "hybrid"}})
        'negatives-hybrid'
        >>> row_name("energy", "host", {"parameters": {}}), row_name("flow_likelihood", "flow", {"parameters": {}})
        ('energy', 'flow-likelihood')
    """
    if network in ("host", FLOW):
        return LIKELIHOOD if network == FLOW else folder
    measure = detector["parameters"].get("measure", "auto")
    return f"{network}-{measure}" if network == HEADLINE and measure in MEASURES.values() else network


def base_of(name: str) -> str:
    """The training that a row is of.

    Example:
        >>> base_of("negatives-hybrid"), base_of("extra-class")
        ('negatives', 'extra-class')
    """
    return HEADLINE if name in {f"{HEADLINE}-{ending}" for ending in MEASURES} else name


def bare_of(name: str) -> str:
    """The same pipeline untrained: of all kinds of negatives the two heads as they start."""
    return f"synthetic-{UNTRAINED}" if name.startswith("synthetic") else f"{HEADLINE}-{UNTRAINED}"


def rivals(name: str) -> list[str]:
    """Rows that a learned one is compared with; likelihood alone is with what sees less.

    Example:
        >>> rivals("flow-likelihood")
        ['chance', 'position_prior', 'local_contrast', 'not_road']
    """
    if name == LIKELIHOOD:
        return list(CONTROLS)
    others = [bare_of(name), *LOGITS, *FITS, *CONTROLS, LIKELIHOOD]
    others += [version.name for version in VERSIONS if name in (HEADLINE, "synthetic") and version.name != name]
    return list(dict.fromkeys(others))


def is_shared(name: str) -> bool:
    """Whether a row stands for all seeds.

    Example:
        >>> [is_shared(name) for name in ("chance", "not_road", "knn-fitted", "negatives-untrained", "msp")]
        [True, False, True, True, False]
    """
    plain = name in (*ALL_CONTROLS, *FITS, LIKELIHOOD) and name not in OF_NETWORKS
    return plain or name.endswith(f"-{UNTRAINED}")


def row_of(name: str, card: Mapping[str, Any], drawn: Resamples) -> Json:
    """Figures of one detector on one benchmark."""
    seconds, frames = card.get("seconds") or {}, card["frames"]
    return {
        "kind": kind_of(name),
        "frames": frames,
        "prevalence": card["prevalence"],
        "pixel": card["pixel"],
        **intervals_of(drawn),
        "open_set": card.get("open_set"),
        "parameters": split_counts(card["parameter_counts"]),
        "seconds": {kind: seconds.get(key, 0.0) / frames for kind, key in (("pass", "forward"), ("own", "score"))},
    }


def kind_of(name: str) -> str:
    """What a row is: ``learned``, ``untrained``, ``control`` or ``post-hoc``.

    Example:
        >>> [kind_of(name) for name in ("sigmoid", "synthetic-untrained", "not_road", "energy")]
        ['learned', 'untrained', 'control', 'post-hoc']
    """
    if name.endswith(f"-{UNTRAINED}"):
        return "untrained"
    if name in ALL_CONTROLS:
        return "control"
    return "learned" if name in LEARNED else "post-hoc"


def closed_miou(one: TrainingSet, seed: int, network: str, card: Mapping[str, Any], paths: Paths) -> float | None:
    """Closed-set mIoU of a row's network; from its run on CamVid test where the benchmark has no classes of that."""
    if one.held_out and card.get("open_set"):
        return float(card["open_set"]["closed_miou"])
    cards: list[Path] = sorted(paths.run(one, seed, "closed", network).glob("*/metrics.json"))
    found = read_json(cards[0]).get("segmentation") if cards else None
    return float(found["miou"]) if found else None


def works(name: str, study: Mapping[str, Any]) -> Json:
    """Whether a version works on a set by the project's rule, and what speaks against it."""
    return learned_figures.works(name, study, study["rows"][name]["training"], bare_of(base_of(name)))
