"""Optional libraries that are missing or broken: simulated by packages of their names on a path of their own."""

import subprocess
import sys

import pytest
import torch

from anomseg.registry import SEGMENTERS
from anomseg.segmenters.guarded import MissingExtraError, import_extra

LIBRARIES = {"smp": "segmentation_models_pytorch", "timm": "timm"}
SPECS = {
    "smp": "smp:arch=unet;encoder=resnet18;classes=[a,b];random_weights=true",
    "timm": "timm:resnet50;random_weights=true",
}


def _package(folder, name, code):
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)


def _ask(folder, text):
    """What loading a segmenter says, and whether the rest still works, in a process that sees these packages first."""
    code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
from anomseg.errors import AnomsegError
from anomseg.segmenters import load_segmenter
for _ in range(2):
    try:
        load_segmenter({text!r})
    except AnomsegError as error:
        print(error)
print(len(load_segmenter("bundled").classes))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", LIBRARIES)
def test_torchvision_that_does_not_fit(name, tmp_path):
    _package(tmp_path, "torchvision", 'raise RuntimeError("operator torchvision::nms does not exist")')
    _package(tmp_path, LIBRARIES[name], "import torchvision")
    first, second, classes = _ask(tmp_path, SPECS[name])
    assert first == second
    release = ".".join(torch.__version__.split(".")[:2])
    assert f"torchvision does not work beside torch {torch.__version__}" in first
    assert "operator torchvision::nms does not exist" in first
    assert f'pip install --force-reinstall --no-deps "torch=={release}.*" torchvision' in first
    assert classes == "11"


def test_torchvision_that_does_not_fit_beside_transformers(tmp_path):
    _package(tmp_path, "torchvision", 'raise RuntimeError("operator torchvision::nms does not exist")')
    # transformers asks the metadata whether it is there.
    (tmp_path / "torchvision-9.9.dist-info").mkdir()
    (tmp_path / "torchvision-9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 9.9\n"
    )
    (tmp_path / "config.json").write_text('{"model_type": "segformer"}')
    first, second, classes = _ask(tmp_path, f"hf:{tmp_path / 'config.json'};random_weights=true")
    assert first == second
    assert first.startswith("transformers is installed, but torchvision does not work beside torch")
    assert "operator torchvision::nms does not exist" in first
    assert classes == "11"


def _import(folder, monkeypatch, code):
    _package(folder, "a_library", code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "a_library", raising=False)
    with pytest.raises(MissingExtraError) as caught:
        import_extra("a_library", "a-library", "smp")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_torchvision_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    raised = 'raise ModuleNotFoundError("No module named torchvision", name="torchvision")'
    told = _import(tmp_path, monkeypatch, raised)
    assert told.startswith("a-library needs torchvision, which is not installed: pip install")


def test_a_library_that_fails_by_itself(tmp_path, monkeypatch):
    told = _import(tmp_path, monkeypatch, 'raise AttributeError("no attribute\\nof that name")')
    assert told.startswith("a-library is installed but cannot be imported (AttributeError: no attribute of that name)")
    assert '"anomseg[smp]"' in told


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_is_not_installed(name, monkeypatch):
    def missing(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("anomseg.segmenters.guarded.importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=rf'is not installed: pip install "anomseg\[{name}\]"'):
        _load(name)


def _load(name):
    import anomseg.segmenters.smp_network
    import anomseg.segmenters.timm_backbone

    kind = {"smp": anomseg.segmenters.smp_network.SMPNetwork, "timm": anomseg.segmenters.timm_backbone.TimmBackbone}[
        name
    ]
    options = {"smp": {"arch": "unet", "encoder": "resnet18", "classes": ["a", "b"]}, "timm": {"model": "resnet50"}}[
        name
    ]
    return kind(random_weights=True, **options)


def test_listing_imports_neither():
    code = """
import sys
import anomseg.segmenters.catalog
print([name for name in ("timm", "segmentation_models_pytorch", "torchvision") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
    assert {"smp", "timm"} <= set(SEGMENTERS.names("extra"))
