"""SynthCP on volumes: the Dice of a mask foretold from the CT, the mask, and the CT that it is rendered as."""

from anomseg.detectors.synthcp.volumes.base import CasePrediction, Judgement, VolumeDetector
from anomseg.detectors.synthcp.volumes.comparing import DirectVolume, SynthCPVolume
from anomseg.detectors.synthcp.volumes.regressed import VolumeUncertainty
from anomseg.detectors.synthcp.volumes.saved import (
    VOLUME_DETECTORS,
    is_volume_detector,
    load_volume_detector,
    save_volume_detector,
)
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting, prepare
from anomseg.detectors.synthcp.volumes.shape_vae import ShapeVAE, ShapeVAEDetector

__all__ = [
    "VOLUME_DETECTORS",
    "CasePrediction",
    "DirectVolume",
    "Judgement",
    "PreparedCase",
    "ShapeVAE",
    "ShapeVAEDetector",
    "SynthCPVolume",
    "VolumeDetector",
    "VolumeSetting",
    "VolumeUncertainty",
    "is_volume_detector",
    "load_volume_detector",
    "prepare",
    "save_volume_detector",
]
