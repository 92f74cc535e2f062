"""What docs/results.md measures of the published systems: Maskomaly and dense k-NN."""

from __future__ import annotations

from pathlib import Path

from results_plan import BICYCLIST, ROAD, Fit, Run, Suite, recipe

MASKS = ("maskomaly", "rba", "eam", "msp", "max_logit")
HELD_OUT = ("--held-out", "bicyclist")


def methods(weights: Path | None) -> list[Suite]:
    """All suites; those that start from an ERFNet checkpoint only where there is one."""
    if weights is None:
        return [bundled_detector(), bundled_mask(), bundled_knn()]
    return [
        *(untrained_mask(), mask_no_bicyclist(weights), bundled_mask()),
        *(bundled_knn(), untrained_knn(), no_bicyclist_knn(), bundled_detector()),
    ]


def mask_fits(*extra: str) -> tuple[Fit, ...]:
    """Ground queries by their overlap with road and pavement of CamVid train."""
    return (
        Fit("maskomaly-ground-fitted", "maskomaly:profile=+ground", extra=extra),
        Fit("position_prior-fitted", "position_prior", extra=extra),
    )


def bundled_mask() -> Suite:
    """The mask transformer that ships, anomaly queries picked on RoadAnomaly21."""
    anomalies = ("--anomalies", "road_anomaly_21={data}/anomaly/RoadAnomaly21")
    return Suite(
        "bundled-mask",
        "Bundled mask transformer on CamVid's classes: Maskomaly",
        "The network ships with the package: a small Mask2Former on the bundled segmenter's encoder. It saw CamVid and "
        "IDD-Lite images. Maskomaly is `zero_shot`; `maskomaly-ground` has its ground queries from CamVid train; "
        "`maskomaly-anomaly` also has anomaly queries picked on the ten labelled frames of RoadAnomaly21, so it uses "
        "anomaly labels, and is shown on RoadAnomaly alone.",
        "bundled-mask",
        (Run("road_anomaly", ROAD["road_anomaly"], MASKS),),
        (*mask_fits(), Fit("maskomaly-anomaly-fitted", "maskomaly:profile=+anomaly", extra=anomalies)),
    )


def mask_no_bicyclist(weights: Path) -> Suite:
    """A mask transformer that was not taught bicyclists."""
    name = "camvid-mask-no-bicyclist-0"
    return Suite(
        name,
        "CamVid without bicyclists, mask transformer: Maskomaly",
        "Recipe `camvid-mask-no-bicyclist`, seed 0: the encoder of the ERFNet above, frozen, and the head of a small "
        "Mask2Former trained on the 166 images of CamVid train that show no bicyclist. The encoder was trained on "
        "Cityscapes, riders and bicycles included.",
        f"{{work}}/networks/{name}",
        (Run("camvid", "camvid", MASKS, BICYCLIST),),
        mask_fits(*HELD_OUT),
        {name: recipe("camvid-mask-no-bicyclist", weights, 0)},
        untrained="untrained-mask",
    )


def untrained_mask() -> Suite:
    """The same on random weights."""
    return Suite(
        "untrained-mask",
        "CamVid without bicyclists, mask transformer of random weights",
        "The network of the next table before any training.",
        "{work}/networks/untrained-mask",
        (Run("camvid", "camvid", MASKS, BICYCLIST),),
        mask_fits(*HELD_OUT),
        random={"untrained-mask": "camvid-mask-no-bicyclist"},
    )


def knn_fits(feature: str, *extra: str) -> tuple[Fit, ...]:
    """DNP and cDNP as published but for the layer and the size of the bank."""
    options = f"feature={feature};rows=40000"
    return (
        Fit("knn-fitted", f"knn:{options}", extra=extra),
        Fit("cdnp-fitted", f"cdnp:{options}", extra=extra),
        Fit("position_prior-fitted", "position_prior", extra=extra),
    )


LOGITS = ("max_logit", "energy")


def bundled_knn() -> Suite:
    """The network that ships."""
    return Suite(
        "bundled-knn",
        "Bundled network on CamVid's classes: dense k-NN",
        "Bank: 40 000 cells of the decoder's finest map (chosen on RoadAnomaly21) on CamVid train, images that the "
        "network was trained on. Other layers, banks and k, and the same on ERFNet, are in docs/claims-knn.md.",
        "bundled",
        tuple(Run(name, folder, LOGITS) for name, folder in ROAD.items()),
        knn_fits("decoder4"),
    )


def bundled_detector() -> Suite:
    """The detector that ships, beside what can be had of the network that it started from."""
    return Suite(
        "bundled-detector",
        "The bundled detector",
        "`bundled` scores by the outlier head of its own network: the bundled segmenter trained on with pasted "
        "negatives, chosen on CamVid val with pasted objects; its model card tells how, and what it segments. All "
        "other rows read the bundled segmenter; banks as in its table of dense k-NN.",
        "bundled",
        tuple(Run(name, folder, ("bundled", *LOGITS)) for name, folder in ROAD.items()),
        knn_fits("decoder4"),
    )


def no_bicyclist_knn() -> Suite:
    """A head that was not taught bicyclists; the features are the encoder's."""
    return Suite(
        "no-bicyclist-knn",
        "CamVid without bicyclists, seed 0: dense k-NN",
        "The network of recipe `camvid-no-bicyclist` above. Bank: 40 000 cells of the encoder's output on the 166 "
        "images of CamVid train that show no bicyclist. The encoder was trained on Cityscapes, riders and bicycles "
        "included.",
        "{work}/networks/camvid-no-bicyclist-0",
        (Run("camvid", "camvid", LOGITS, BICYCLIST),),
        knn_fits("encoder", *HELD_OUT),
        untrained="untrained-knn",
    )


def untrained_knn() -> Suite:
    """The same on random weights."""
    return Suite(
        "untrained-knn",
        "CamVid without bicyclists, network of random weights: dense k-NN",
        "The network of the next tables before any training; the same fits on the same frames.",
        "{work}/networks/untrained",
        (Run("camvid", "camvid", LOGITS, BICYCLIST),),
        knn_fits("encoder", *HELD_OUT),
        random={"untrained": "camvid-no-bicyclist"},
    )
