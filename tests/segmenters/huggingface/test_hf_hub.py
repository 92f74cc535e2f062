"""The hub, played by a small server of our own: what it serves is loaded, and each way it can fail is one line."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import huggingface_hub.constants
import pytest

from anomseg.errors import DataError
from anomseg.segmenters import load_segmenter

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """Answers with a status for the whole repository, or serves the files of a folder."""

    folder = None
    status = 200
    code = None
    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        pass

    def _answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        self.asked.append(self.path)
        if self.status != 200:
            self._answer(self.status, **({"X_Error_Code": self.code} if self.code else {}))
            return
        names = sorted(path.name for path in self.folder.iterdir())
        if self.path.startswith("/api/models/"):
            if "/tree/" in self.path:
                sizes = [
                    {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": name}
                    for name in names
                ]
                self._answer(200, json.dumps(sizes).encode(), Content_Type="application/json")
                return
            about = {"id": "tiny/segformer", "modelId": "tiny/segformer", "sha": COMMIT, "private": False, "tags": []}
            about["siblings"] = [{"rfilename": name} for name in names]
            self._answer(200, json.dumps(about).encode(), Content_Type="application/json")
            return
        name = self.path.rpartition("/")[2]
        body = (self.folder / name).read_bytes()
        self._answer(200, body, ETag=f'"{name}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A handler class to set up; the client's cache is empty and its only hub is the handler's."""
    handler = type("Hub", (_Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _point_to(monkeypatch, tmp_path, server.server_port)
    yield handler
    server.shutdown()
    server.server_close()


def _point_to(monkeypatch, tmp_path, port):
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def _refused(match, what="hf:tiny/segformer"):
    with pytest.raises(DataError, match=match) as caught:
        load_segmenter(what)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_of_the_hub_and_then_of_its_cache(hub, saved_segformer, monkeypatch, tmp_path):
    hub.folder = saved_segformer
    (saved_segformer / "pytorch_model.bin").write_bytes(b"never fetched")
    try:
        segmenter = load_segmenter("hf:tiny/segformer;size=[64,96]")
    finally:
        (saved_segformer / "pytorch_model.bin").unlink()
    assert segmenter.title == "tiny/segformer"
    assert segmenter.fingerprint() == load_segmenter(f"hf:{saved_segformer}").fingerprint()
    assert not any("pytorch_model" in path for path in hub.asked)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.status = 500
    assert load_segmenter("hf:tiny/segformer").fingerprint() == segmenter.fingerprint()


def test_no_such_model(hub):
    hub.status, hub.code = 404, "RepoNotFound"
    _refused("tiny/segformer is neither a directory here nor a model on the hub")


def test_a_private_or_unknown_model(hub):
    hub.status = 401
    _refused("hf auth login")


def test_a_gated_model(hub):
    hub.status, hub.code = 403, "GatedRepo"
    _refused("is gated: accept its terms")


def test_a_hub_that_is_broken(hub):
    hub.status = 500
    _refused("the hub answered with error 500.*hf download tiny/segformer --local-dir DIR.*give hf:DIR")


def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    _point_to(monkeypatch, tmp_path, port)
    _refused("cannot be reached.*run 'hf download tiny/segformer --local-dir DIR', copy DIR here and give hf:DIR")


def test_offline_by_wish(monkeypatch, tmp_path):
    _point_to(monkeypatch, tmp_path, 9)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    _refused("HF_HUB_OFFLINE is set")


def test_a_model_with_pickled_weights_alone(hub, saved_segformer, tmp_path):
    hub.folder = tmp_path / "repository"
    hub.folder.mkdir()
    (hub.folder / "config.json").write_bytes((saved_segformer / "config.json").read_bytes())
    (hub.folder / "pytorch_model.bin").write_bytes(b"pickle")
    _refused(r"no model\.safetensors; weights as \.bin are not loaded")


def test_a_repository_that_is_no_model(hub, tmp_path):
    hub.folder = tmp_path / "repository"
    hub.folder.mkdir()
    (hub.folder / "README.md").write_text("words")
    _refused(r"no config\.json")
