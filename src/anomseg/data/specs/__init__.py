"""Data sets by name: each is declared in a module of its own."""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec
from anomseg.registry import Registry, parse_spec

DATASETS = Registry("data set")
for _name, _module, _summary in (
    ("road_anomaly", "road_anomaly", "RoadAnomaly, 60 road scenes with unusual objects"),
    ("road_anomaly_21", "smiyc", "SegmentMeIfYouCan anomaly track; validation, hidden test"),
    ("road_obstacle_21", "smiyc", "SegmentMeIfYouCan obstacle track; validation, hidden test"),
    ("fishyscapes_lost_and_found", "fishyscapes", "Fishyscapes Lost & Found, validation"),
    ("fishyscapes_static", "fishyscapes", "Fishyscapes Static v1, v2, v3, validation"),
    ("lost_and_found", "lost_and_found", "LostAndFound, SegmentMeIfYouCan's splits (option variant)"),
    ("street_hazards", "street_hazards", "StreetHazards, simulated towns with unseen objects"),
    ("bdd_anomaly", "bdd_anomaly", "BDD-Anomaly, BDD100K images with trains and motorcycles unknown"),
    ("camvid", "camvid", "CamVid, eleven classes of driving video"),
    ("idd_lite", "idd_lite", "India Driving Dataset Lite, seven classes"),
    ("cifar10", "cifar10", "CIFAR-10, small photographs of ten classes"),
    ("pasted", "pasted", "frames with pasted objects, from 'anomseg data paste' (option base)"),
    ("wilddash", "wilddash", "WildDash 1, driving in bad conditions, nineteen classes; validation, hidden benchmark"),
    ("wilddash_2", "wilddash_2", "WildDash 2, label numbers read from its own JSON file; public, hidden benchmark"),
    ("wd_pascal", "wd_pascal", "WD-Pascal, animals pasted on WildDash, from 'anomseg data paste' (option void)"),
    ("cityscapes", "cityscapes", "Cityscapes, nineteen classes of driving"),
    ("vistas_np", "vistas_np", "Vistas-NP, Mapillary Vistas with persons and riders unknown"),
    ("muad", "muad", "MUAD, simulated driving; six classes unknown"),
    ("camvid_ood", "camvid_ood", "CamVid-OOD, CamVid with pasted animals"),
    ("issu", "issu", "ISSU, streets of India with unknown objects, also in poor light (option track)"),
    ("ade_ood", "ade_ood", "ADE-OoD, all kinds of scenes, unknown to ADE20K's 150 classes"),
    ("oodis", "oodis", "OoDIS, instances of anomalies (option part)"),
    ("folder", "folder", "images and masks of one's own (options images, masks, values)"),
):
    DATASETS.register(_name, f"anomseg.data.specs.{_module}:{_name}", _summary)


def dataset_spec(name: str) -> DatasetSpec:
    """Look a data set up.

    Args:
        name: Its name, with options where it takes any (``folder:images=photos;masks=gt``).

    Raises:
        ConfigError: The name or an option is unknown.

    Example:
        >>> dataset_spec("camvid").label_space.names[:2]
        ('sky', 'building')
    """
    return DATASETS.create_from(parse_spec(name))


__all__ = ["DATASETS", "dataset_spec"]
