"""From a module to the bytes of an ONNX file, by either of PyTorch's exporters."""

from __future__ import annotations

import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from anomseg.export.graph import INPUTS, OUTPUTS

Exporter = Literal["dynamo", "torchscript"]

DYNAMO_OPSET = 18
"""The oldest operator set that the dynamo exporter writes by itself."""

_AXES = {0: "batch", 1: "height", 2: "width"}
_NOISY = ("torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


def write_graph(
    module: nn.Module,
    example: tuple[Tensor, Tensor],
    exporter: Exporter,
    opset: int,
    *,
    any_batch: bool,
    any_size: bool,
) -> Any:
    """Export a `DetectorGraph`.

    Args:
        module: In evaluation mode, on the CPU.
        example: An image batch and a threshold to trace with.
        exporter: Which of PyTorch's exporters.
        opset: ONNX operator set.
        any_batch: Leave the batch size free.
        any_size: Leave height and width free.

    Returns:
        The ``onnx.ModelProto``, its axes named.

    Raises:
        Exception: Whatever the exporter raises where it cannot follow the module.
    """
    import onnx  # noqa: PLC0415 - an extra, heavy

    free = {axis: name for axis, name in _AXES.items() if (any_batch if name == "batch" else any_size)}
    with quiet(), torch.no_grad():
        if exporter == "dynamo":
            dimension = torch.export.Dim.DYNAMIC
            image = {axis + (axis > 0): dimension for axis in free}
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes={"image": image or None, "threshold": None},
            )
            model = program.model_proto  # type: ignore[union-attr]
        else:
            image_axes = {axis + (axis > 0): name for axis, name in free.items()}
            with tempfile.TemporaryDirectory() as folder, _nothing_printed():
                torch.onnx.export(
                    module,
                    example,
                    Path(folder) / "graph.onnx",
                    dynamo=False,
                    opset_version=opset,
                    input_names=INPUTS,
                    output_names=OUTPUTS,
                    dynamic_axes={INPUTS[0]: image_axes, **dict.fromkeys(OUTPUTS, free)},
                )
                model = onnx.load(Path(folder) / "graph.onnx")
    _name_axes(model, tuple(example[0].shape), free)
    return model


def _name_axes(model: Any, image_shape: tuple[int, ...], free: dict[int, str]) -> None:
    """Give inputs and outputs readable axes; exporters write symbols and formulas there."""
    # Shapes inside the graph are written in the same symbols; every runtime infers them anew.
    del model.graph.value_info[:]
    batch, _, height, width = image_shape
    sides: list[str | int] = [free.get(0, batch), free.get(1, height), free.get(2, width)]
    for value in (*model.graph.input, *model.graph.output):
        if value.name not in (*INPUTS[:1], *OUTPUTS):
            continue
        wanted = [sides[0], 3, *sides[1:]] if value.name in INPUTS else sides
        for dimension, side in zip(value.type.tensor_type.shape.dim, wanted, strict=True):
            if isinstance(side, str):
                dimension.dim_param = side
            else:
                dimension.dim_value = side


@contextmanager
def _nothing_printed() -> Iterator[None]:
    """Keep the TorchScript exporter from printing its whole graph where it fails, which it does past `sys.stdout`."""
    with ExitStack() as stack:
        try:
            kept = os.dup(1)
        except OSError:  # there is no standard output
            yield
            return
        stack.callback(os.close, kept)
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        stack.callback(os.dup2, kept, 1)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters from telling, and printing whole graphs of, what the check of their work will show anyway."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    try:
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
