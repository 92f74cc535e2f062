"""The sentence that OneFormer is told its task by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomseg.errors import DataError

SEMANTIC = "the task is semantic"
# That sentence in the vocabulary of CLIP, which the published checkpoints use: start, the, task, is, seman, tic, end.
SEMANTIC_TOKENS = (49406, 518, 10549, 533, 29119, 1550, 49407)


def semantic_tokens(folder: Path | None, length: int) -> tuple[int, ...]:
    """Numbers of the tokens of "the task is semantic", zeros up to ``length`` behind.

    Args:
        folder: Model directory; its tokenizer is used where it has one, else CLIP's numbers.
        length: ``task_seq_len`` of the configuration.

    Raises:
        DataError: The tokenizer's files are damaged.

    Example:
        >>> semantic_tokens(None, 9)
        (49406, 518, 10549, 533, 29119, 1550, 49407, 0, 0)
    """
    tokens: Sequence[int] = SEMANTIC_TOKENS
    if folder is not None and ((folder / "vocab.json").is_file() or (folder / "tokenizer.json").is_file()):
        from transformers import CLIPTokenizer  # noqa: PLC0415 - heavy

        try:
            tokens = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)(SEMANTIC)["input_ids"]
        except Exception as error:  # the library raises many kinds for damaged files
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"the tokenizer in {folder} cannot be read: {reason}") from error
    return pad_tokens(tokens, length)


def pad_tokens(tokens: Sequence[int], length: int) -> tuple[int, ...]:
    """Cut or fill with zeros to ``length``, as the library's processor does."""
    return tuple([*(int(token) for token in tokens), *[0] * length][:length])
