"""A server on this machine that hands out archives whole, in parts or badly; writers of archives, good and bad."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILES = {"images/a.png": b"picture" * 50, "labels/a.png": b"label" * 50, "LICENSE.txt": b"terms"}


class ArchiveServer(ThreadingHTTPServer):
    """Serves ``content`` by name; what it was asked for is in ``asked`` as (path, Range header).

    Attributes:
        content: Bytes by path.
        cuts: How many bytes to send before the connection is closed, one entry a request, then no cuts.
        etag: The version that it tells.
        ranges: Whether it sends parts.
        status: Answer by path instead of content.
    """

    daemon_threads = True

    def __init__(self, content: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = dict(content)
        self.cuts: list[int] = []
        self.etag = '"one"'
        self.ranges = True
        self.status: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        path = self.path.partition("?")[0]
        server.asked.append((path, wanted))
        if path in server.status or path not in server.content:
            self.send_error(server.status.get(path, 404))
            return
        body, start = server.content[path], 0
        same = self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.ranges and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(body[start:] if cut is None else body[start : start + cut])
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        del arguments


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def zipped(files: Mapping[str, bytes] = FILES, top: str = "", **attributes: int) -> bytes:
    """A zip; ``attributes`` are external ones (mode << 16) by file name with dots and slashes as ``_``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(top + name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = attributes.get(name.replace(".", "_").replace("/", "_"), 0)
            archive.writestr(member, data)
    return stream.getvalue()


def tarred(files: Mapping[str, bytes] = FILES, top: str = "", mode: str = "w:gz", *extra: tarfile.TarInfo) -> bytes:
    """A tar with folders, then files, then ``extra`` members without content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        if top:
            folder = tarfile.TarInfo(top.rstrip("/"))
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in extra:
            archive.addfile(member)
    return stream.getvalue()


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    """A member that is a link, a device or a pipe."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member
