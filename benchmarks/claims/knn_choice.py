"""The choice of layer, k and upsampling, made on frames that the headline figures are not of."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from knn_measure import of_cells, of_maps, spread, tally
from knn_plan import FrameSet
from knn_search import Cells, nested_search
from knn_study import Json, Study

CHOICE_KS = (1, 3, 5, 10)
"""Numbers of neighbours to choose from; more are looked at in the sweep."""
LAYER_CELLS = 700


@dataclass(frozen=True)
class Choice:
    """One configuration.

    Attributes:
        layer: Feature map.
        k: Neighbours.
        upsample: ``nearest`` or ``bilinear``.
    """

    layer: str
    k: int
    upsample: str

    def as_json(self) -> Json:
        """Ready for JSON."""
        return asdict(self)


def layer_figures(study: Study, which: FrameSet, layer: str) -> Json:
    """Figures of one layer for each k on a set, each cell's score repeated over its pixels."""

    cells = study.cells(which, layer, LAYER_CELLS)

    def make() -> Json:
        frames = study.frames(which)
        tallies = [tally(one, layer, cells) for one in frames]
        found = nested_search(frames, study.bank(layer), [study.rows], CHOICE_KS, cells, study.say)
        figures = {str(k): of_cells(frames, tallies, own).figures() for (_, k), own in found.items()}
        return {"protocol": study.protocol(which, cells), "k": figures, "channels": found_width(study, which, layer)}

    return study.once(f"layer-{layer}-{which.key}", make, ks=CHOICE_KS, step=cells.step)


def found_width(study: Study, which: FrameSet, layer: str) -> int:
    """Channels of a layer."""
    return int(study.frames(which)[0].features(layer).shape[1])


def best_layer(by_layer: dict[str, Json]) -> tuple[str, int]:
    """Layer and k of the greatest AP; the earlier layer and the smaller k on a tie.

    Example:
        >>> best_layer({"a": {"k": {"1": {"ap": 0.2}, "3": {"ap": 0.4}}}, "b": {"k": {"1": {"ap": 0.3}}}})
        ('a', 3)
    """
    options = [
        (-own["ap"], place, int(k)) for place, one in enumerate(by_layer.values()) for k, own in one["k"].items()
    ]
    _, place, k = min(options)
    return list(by_layer)[place], k


def choose(study: Study) -> Choice:
    """Layer and k by the greatest AP on the set to select on, then the upsampling by the same."""
    network = study.network
    layer, k = best_layer({layer: layer_figures(study, network.select, layer) for layer in network.layers})

    figures = upsampling(study, layer, k)["upsample"]
    return Choice(layer, k, max(figures, key=lambda name: figures[name]["ap"]))


def upsampling(study: Study, layer: str, k: int) -> Json:
    """Figures of both ways of upsampling on the set to select on, all cells read."""
    select = study.network.select

    def make() -> Json:
        frames = study.frames(select)
        found = nested_search(frames, study.bank(layer), [study.rows], [k], Cells(), study.say)
        (own,) = found.values()
        figures = {
            upsample: of_maps(frames, lambda place, one, how=upsample: spread(one, layer, own[place], how)).figures()
            for upsample in ("nearest", "bilinear")
        }
        return {"protocol": study.protocol(select), "upsample": figures}

    return study.once("upsampling", make, layer=layer, k=k)
