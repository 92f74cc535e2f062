"""What a stage of a recipe is, and the kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from anomseg.registry import STAGES

STAGES.register(
    "segmentation",
    "anomseg.training.segmentation:SegmentationStage",
    "train a segmenter on labelled frames, coarse labels included",
)
STAGES.register(
    "features",
    "anomseg.training.features_stage:FeaturesStage",
    "compute the features of training crops once, for heads on a frozen encoder",
)
STAGES.register(
    "folds",
    "anomseg.training.folds_stage:FoldsStage",
    "train a network for each part of the frames on all the others, and keep what it predicts there",
)
STAGES.register(
    "pans",
    "anomseg.detectors.pans.stage:PAnSStage",
    "train a network with a cosine classifier, whose prototypes are then compared with (PAnS)",
)
STAGES.register(
    "pgan",
    "anomseg.detectors.pgan.stage:PGANStage",
    "train a prototype extraction network on the features of a segmenter that stays as it is",
)
STAGES.register(
    "student",
    "anomseg.detectors.dicnet.stage:StudentStage",
    "train a student on a teacher's features, to see where it fails to guess them (DiCNet)",
)
STAGES.register(
    "noisy_negatives",
    "anomseg.detectors.noisy_negatives.stage:NoisyNegativesStage",
    "train a network on pasted negatives: an outlier head, an extra class, sigmoids or outlier exposure",
)
STAGES.register(
    "flow",
    "anomseg.detectors.synthetic_outliers.flow_stage:FlowStage",
    "train a Real NVP on patches of in-distribution images, by maximum likelihood",
)
STAGES.register(
    "joint_outliers",
    "anomseg.detectors.synthetic_outliers.joint_stage:JointOutliersStage",
    "train a segmenter and a flow together, so that it doubts what the flow draws at the border of the data",
)
STAGES.register(
    "synthesis",
    "anomseg.detectors.synthcp.synthesis_stage:SynthesisStage",
    "train a SPADE generator that renders layouts, against a discriminator (SynthCP)",
)
STAGES.register(
    "comparator",
    "anomseg.detectors.synthcp.comparator_stage:ComparatorStage",
    "learn on out-of-fold predictions and their renderings where a segmentation is wrong (SynthCP)",
)
STAGES.register(
    "volume_synthesis",
    "anomseg.detectors.synthcp.volumes.synthesis_stage:VolumeSynthesisStage",
    "train a SPADE generator that renders masks as CT, in slices or in volumes (SynthCP)",
)
STAGES.register(
    "volume_comparator",
    "anomseg.detectors.synthcp.volumes.comparator_stage:VolumeComparatorStage",
    "learn the Dice of masks in CT, with or without the CT that a mask is rendered as (SynthCP)",
)
STAGES.register(
    "volume_shape",
    "anomseg.detectors.synthcp.volumes.shape_stage:VolumeShapeStage",
    "train an autoencoder of true masks, and fit the Dice to how it gives masks back",
)
STAGES.register(
    "volume_uncertainty",
    "anomseg.detectors.synthcp.volumes.shape_stage:VolumeUncertaintyStage",
    "fit the Dice of masks in CT to the entropy of their probabilities",
)
STAGES.register(
    "tcp",
    "anomseg.detectors.failure.tcp_stage:TCPStage",
    "train a head that guesses the probability of the true class, on a network that stays as it is",
)


class Stage(Protocol):
    """What a registered kind of stage must be able to do."""

    def check(self) -> None:
        """Find everything it needs, before any stage starts."""

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Do the work, resumably, and return a summary.

        Args:
            folder: Where checkpoints and logs of this stage live.
            out: Where its result is written.
            taken: Result folders of the stages that it takes, by their names.
            quiet: Show no progress.
        """
