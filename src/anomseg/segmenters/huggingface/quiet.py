"""The libraries' own messages: kept still, or told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's log and progress bars still; what they would say of weights is checked and raised here."""
    from transformers.utils import logging  # noqa: PLC0415 - heavy

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def one_line(error: BaseException, most: int = 160) -> str:
    r"""What an error says, in one line of at most ``most`` characters; its kind where it says nothing.

    Example:
        >>> one_line(ValueError("first\nsecond"))
        'first second'
    """
    return (" ".join(str(error).split()) or type(error).__name__)[:most]
