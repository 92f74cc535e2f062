"""Benchmark figures: frames, a protocol and detectors become metric states and result cards."""

from anomseg.evaluation.against import against_negatives
from anomseg.evaluation.evaluate import evaluate, open_source, run_plan
from anomseg.evaluation.fishyscapes_files import FishyscapesFiles, submit_fishyscapes
from anomseg.evaluation.maps import MapCache
from anomseg.evaluation.plan import Plan, make_plan
from anomseg.evaluation.progress import Progress
from anomseg.evaluation.protocols import evaluate_protocols, protocol_table
from anomseg.evaluation.run_folder import RunRecord, read_record
from anomseg.evaluation.scores_dir import ScoresDirectory
from anomseg.evaluation.shards import merge
from anomseg.evaluation.sources import Answer, MapSource, Sample
from anomseg.evaluation.states import DetectorState, load_curve
from anomseg.evaluation.submission import Submission, submit

__all__ = [
    "Answer",
    "DetectorState",
    "FishyscapesFiles",
    "MapCache",
    "MapSource",
    "Plan",
    "Progress",
    "RunRecord",
    "Sample",
    "ScoresDirectory",
    "Submission",
    "against_negatives",
    "evaluate",
    "evaluate_protocols",
    "load_curve",
    "make_plan",
    "merge",
    "open_source",
    "protocol_table",
    "read_record",
    "run_plan",
    "submit",
    "submit_fishyscapes",
]
