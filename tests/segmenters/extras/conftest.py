"""Makes torchvision importable in this process and in those it starts, where it is installed but does not fit."""

import os
import sys
from pathlib import Path

_FOLDER = str(Path(__file__).parent / "importable")


def _patch() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("torchvision_made_importable", f"{_FOLDER}/sitecustomize.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # keeps the schemas alive
    spec.loader.exec_module(module)
    if module._kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_FOLDER, os.environ.get("PYTHONPATH")]))


_patch()
