"""Importing optional libraries: where one cannot be imported, one line says which of the cases it is.

torchvision is the usual cause. Its published wheel is built for CUDA; beside another build of torch its own import
fails, and so does that of every library that imports it.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

import torch

from anomseg.errors import ConfigError


class MissingExtraError(ConfigError):
    """An optional library that is not installed, or that cannot be imported as it is installed."""


def import_extra(module: str, library: str, extra: str) -> ModuleType:
    """Import a library that only some users have.

    Args:
        module: The module's name.
        library: What the library is called where it is installed from.
        extra: The extra of this package that installs it.

    Returns:
        The module.

    Raises:
        MissingExtraError: It is not installed, torchvision does not work beside this torch, or it fails by itself.

    Example:
        >>> import_extra("nothing_of_this_name", "nothing", "smp")
        Traceback (most recent call last):
        anomseg.segmenters.guarded.MissingExtraError: nothing is not installed: pip install "anomseg[smp]"
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a library that does not fit may raise anything while it is imported
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise MissingExtraError(f'{library} is not installed: pip install "anomseg[{extra}]"') from error
        raise unusable(error, library, f"anomseg[{extra}]") from error


def unusable(error: BaseException, library: str, package: str) -> MissingExtraError:
    """What to say of a library that is installed and yet failed while it, or a part of it, was imported.

    Args:
        error: What was raised; the errors that it came from are looked through too.
        library: What the library is called.
        package: What is upgraded with pip to mend it.

    Example:
        >>> print(unusable(AttributeError("none"), "timm", "anomseg[timm]"))
        timm is installed but cannot be imported (AttributeError: none); try pip install --upgrade "anomseg[timm]"
    """
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    for cause in causes:
        reason = " ".join(str(cause).split())[:160]
        if isinstance(cause, ModuleNotFoundError) and cause.name == "torchvision":
            return MissingExtraError(f"{library} needs torchvision, which is not installed: {_matching_torchvision()}")
        if "torchvision" in reason:
            return MissingExtraError(
                f"{library} is installed, but torchvision does not work beside torch {torch.__version__} ({reason}); "
                f"install builds that match: {_matching_torchvision()}"
            )
    reason = " ".join(str(error).split())[:160]
    return MissingExtraError(
        f"{library} is installed but cannot be imported ({type(error).__name__}: {reason}); "
        f'try pip install --upgrade "{package}"'
    )


def _matching_torchvision() -> str:
    """The command that installs the torchvision of this very build of torch."""
    version, _, build = torch.__version__.partition("+")
    release = ".".join(version.split(".")[:2])
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f'pip install --force-reinstall --no-deps "torch=={release}.*" torchvision{index}'


def unknown_of_many(kind: str, name: str, known: Iterable[str], listing: str) -> ConfigError:
    """The error for an unknown name where the known ones are too many to print.

    Args:
        kind: What the name stands for.
        name: The name that was given.
        known: All names that exist.
        listing: What prints them.

    Example:
        >>> print(unknown_of_many("timm model", "resnet5o", ["resnet50", "convnext_atto"], "timm.list_models()"))
        unknown timm model 'resnet5o': did you mean 'resnet50'? (timm.list_models() lists all)
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {kind} {name!r}{hint} ({listing} lists all)")
