"""Downloads that go on where they broke off."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomseg.errors import DataError
from anomseg.files import cannot_write, write_text

if TYPE_CHECKING:
    from requests import Response

Progress = Callable[[int, int, str], None]
MIB = 1 << 20

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


def silent(done: int, total: int, text: str) -> None:
    """Report nothing."""
    del done, total, text


@dataclass
class ResumingTransfer:
    """Copies an address to a file, by way of a partial file that an interrupted copy is continued from.

    It is what pooch calls a downloader.

    Attributes:
        part: The partial file; what it came from is noted beside it.
        checked: A checksum follows, so pieces of different files cannot pass for one. Without it a copy is continued
            only where the server confirms that its file is still the same.
        on_progress: Called with the mebibytes that are there, those there will be, and the file's name.
        attempts: How many connections in a row may bring nothing.
        wait: Seconds before another attempt, more after each.
        timeout: Seconds after which a silent connection is given up.
    """

    part: Path
    checked: bool
    on_progress: Progress = silent
    attempts: int = 4
    wait: float = 1.0
    timeout: float = 30.0

    def __call__(self, url: str, output_file: str, owner: Any = None) -> None:
        """Copy, and hand the whole file over as ``output_file``.

        Raises:
            DataError: The address does not answer or has nothing, the disk is full, or the connection broke off again
                and again; what came is kept.
        """
        del owner
        from requests import RequestException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        fruitless = 0
        while True:
            before = self._size()
            try:
                self._go_on(url)
                break
            except (RequestException, HTTPError) as error:
                fruitless = 0 if self._size() > before else fruitless + 1
                if fruitless >= self.attempts:
                    raise DataError(self._broken(url, error)) from error
                time.sleep(self.wait * fruitless)
            except OSError as error:
                raise cannot_write(self.part, error) from error
        self._hand_over(Path(output_file))

    def forget(self) -> None:
        """Remove what is kept for going on."""
        for path in (self.part, self._note):
            path.unlink(missing_ok=True)

    @property
    def _note(self) -> Path:
        return self.part.with_name(f"{self.part.name}.from")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _go_on(self, url: str) -> None:
        import requests  # noqa: PLC0415

        start = self._size()
        known = self._note.read_text("utf-8") if self._note.is_file() else ""
        # Compression on the way would change sizes and checksums.
        headers = {"Accept-Encoding": "identity"}
        if start and (self.checked or known):
            headers["Range"] = f"bytes={start}-"
            if known:
                headers["If-Range"] = known
        with closing(requests.get(url, headers=headers, stream=True, timeout=self.timeout)) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if _range(answer)[1] == start:
                    return
                self.forget()
                raise requests.ConnectionError("the file there has changed")
            if 400 <= answer.status_code < 500:
                reason = f"{answer.status_code} {answer.reason}"
                raise DataError(f"{url} answers {reason}; the address may have moved, see the data set's own page")
            answer.raise_for_status()
            self._receive(answer, start)

    def _receive(self, answer: Response, start: int) -> None:
        import requests  # noqa: PLC0415

        continued = answer.status_code == requests.codes.partial_content
        begins, total = _range(answer) if continued else (0, _length(answer))
        if continued and begins != start:
            self.forget()
            raise requests.ConnectionError("the server sent another part than the one asked for")
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - begins > free:
            raise DataError(
                f"{answer.url} needs {(total - begins) // MIB + 1} MiB, {self.part.parent} has {free // MIB} MiB left; "
                "free some space or choose another --out"
            )
        write_text(self._note, _validator(answer))
        done = begins
        with self.part.open("ab" if continued else "wb") as stream:
            for chunk in _chunks(answer):
                stream.write(chunk)
                if done // MIB != (done + len(chunk)) // MIB:
                    self._report(done + len(chunk), total)
                done += len(chunk)
        if total is not None and done != total:
            raise requests.ConnectionError(f"{done} of {total} bytes came")
        self._report(done, done)

    def _report(self, done: int, total: int | None) -> None:
        """Whole mebibytes; those in all are rounded up, so that only the end looks like one."""
        in_all = -(-max(done, total or 0) // MIB)
        self.on_progress(in_all if done == total else done // MIB, in_all, self.part.stem)

    def _hand_over(self, target: Path) -> None:
        """Give the file its place, keeping the partial file until it has been checked."""
        target.unlink(missing_ok=True)
        try:
            os.link(self.part, target)
        except OSError:  # a file system without hard links
            self.part.replace(target)

    def _broken(self, url: str, error: Exception) -> str:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        kept = f"{self._size()} bytes are kept, run the same command again to go on" if self._size() else "nothing came"
        return f"the download of {url} broke off ({reason}); {kept}"


def _chunks(answer: Response) -> Iterator[bytes]:
    """The bytes as they are sent."""
    yield from answer.raw.stream(_CHUNK, decode_content=False)


def _range(answer: Response) -> tuple[int, int | None]:
    """Where the part that was sent begins, and how long the whole is; -1 where it is not said."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None:
        return -1, None
    return int(match[1] or -1), int(match[2]) if match[2] != "*" else None


def _length(answer: Response) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(answer: Response) -> str:
    """What tells one version of a file from another; empty where the server does not say."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
