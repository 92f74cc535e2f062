"""Lets a torchvision built for CUDA be imported beside a CPU build of torch, for test runs alone.

Its import asks for the schemas of two operators that its own binary, which does not load here, would define. Python
runs this file at its start where this folder is on PYTHONPATH, so processes that a test starts have it too.
"""

import importlib.util
import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept = []


def make_torchvision_importable() -> bool:
    """Define the missing schemas where torchvision is installed and fails for lack of them; whether that was done."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            return False
    else:
        return bool(_kept)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept.append(library)  # the schemas live as long as it does
    return True


make_torchvision_importable()
