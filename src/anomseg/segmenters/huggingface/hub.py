"""Model directories: given as one, or fetched from the Hugging Face hub; with one line for each way it can fail."""

from __future__ import annotations

import re
from pathlib import Path

from anomseg.errors import ConfigError, DataError
from anomseg.segmenters.huggingface.quiet import one_line

CONFIG = "config.json"
# Configurations, weights as safetensors, tokenizers; nothing that would have to be unpickled or run.
_WANTED = [
    CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
]
_HUB_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
_PATIENCE = 10.0


def model_folder(text: str) -> Path:
    """The directory (or configuration file) that a text means, fetched first where it is a hub id.

    Args:
        text: A directory, a JSON file, or a hub id such as ``nvidia/segformer-b0-finetuned-cityscapes-1024-1024``.

    Raises:
        DataError: It is neither here nor on the hub, or the hub cannot be reached.
        ConfigError: It is a file of another kind.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        if not (path / CONFIG).is_file():
            hint = (
                "; it was written by anomseg, so give it without 'hf:'" if (path / "segmenter.json").is_file() else ""
            )
            raise DataError(f"{path} has no {CONFIG}, so it is no directory of a transformers model{hint}")
        return path
    if path.is_file():
        if path.suffix != ".json":
            raise ConfigError(f"{path} is a file; give the directory that holds it together with its {CONFIG}")
        return path
    if not _HUB_ID.fullmatch(text) or text.startswith(".") or path.suffix in (".json", ".safetensors"):
        raise DataError(f"there is no directory {text}, and it cannot be a hub id, which is written OWNER/NAME")
    return _download(text)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - heavy

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=_WANTED, etag_timeout=_PATIENCE))
    except Exception as error:  # the client and the transport below it raise many kinds
        raise DataError(_explained(hub_id, error)) from error
    if not (folder / CONFIG).is_file():
        raise DataError(f"{hub_id} on the hub has no {CONFIG}, so it is no transformers model")
    return folder


def _explained(hub_id: str, error: BaseException) -> str:
    from huggingface_hub import errors  # noqa: PLC0415 - heavy

    # The client hides what happened behind "not in the cache": what it came from tells the cases apart.
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)

    def is_from(kind: type[BaseException]) -> bool:
        return any(isinstance(cause, kind) for cause in causes)

    elsewhere = f"where there is a connection run 'hf download {hub_id} --local-dir DIR', copy DIR here and give hf:DIR"
    if is_from(errors.GatedRepoError):
        return f"{hub_id} is gated: accept its terms on its page and log in with 'hf auth login', or {elsewhere}"
    answered = next((cause.response.status_code for cause in causes if isinstance(cause, errors.HfHubHTTPError)), None)
    if answered in (401, 403, 404):
        return (
            f"{hub_id} is neither a directory here nor a model on the hub; check the name, or log in with "
            "'hf auth login' if it is private"
        )
    if is_from(errors.HFValidationError):
        return f"{hub_id} is neither a directory here nor a hub id: {one_line(error)}"
    if answered is not None:
        return f"{hub_id} is no directory here, and the hub answered with error {answered}; {elsewhere}"
    if is_from(errors.OfflineModeIsEnabled):
        return f"{hub_id} is neither a directory here nor in the hub's cache, and HF_HUB_OFFLINE is set; {elsewhere}"
    return f"{hub_id} is no directory here, and the hub cannot be reached ({one_line(causes[-1])}); {elsewhere}"
