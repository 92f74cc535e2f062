"""Benchmark figures: frames, a protocol and detectors become metric states and result cards."""

from anomseg.evaluation.evaluate import evaluate
from anomseg.evaluation.maps import MapCache, remove_maps
from anomseg.evaluation.progress import Progress
from anomseg.evaluation.run_folder import RunRecord, read_record
from anomseg.evaluation.scores_dir import ScoresDirectory
from anomseg.evaluation.shards import merge
from anomseg.evaluation.states import DetectorState

__all__ = [
    "DetectorState",
    "MapCache",
    "Progress",
    "RunRecord",
    "ScoresDirectory",
    "evaluate",
    "merge",
    "read_record",
    "remove_maps",
]
