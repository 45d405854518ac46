"""What is not on this machine is asked of the hub once, and without a network that is soon over."""

import json
import socket
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones import hub
from helpers.libraries import library

# seconds; the client's own tries take half a minute, which is no matter of how busy a machine is
SOON = 15


@pytest.fixture
def at(monkeypatch):
    """The hub is asked at this address."""
    library("huggingface_hub").HfApi, library("transformers").AutoModel  # slow to import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return lambda port: monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}"
    )


@pytest.fixture
def silent():
    """The port of somebody who takes calls and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


@pytest.fixture
def answering():
    """A hub that knows one model: its port, and what it was asked for."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            known = self.path.endswith("some/model")
            body = json.dumps({"id": "some/model"} if known else {"error": "none"}).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()


def absent(tried):
    """Reads a model that is not on this machine, and keeps what was tried."""

    def read(where, how):
        tried.append(how["local_files_only"])
        if how["local_files_only"]:
            raise OSError("not in the cache")
        return where

    return read


@pytest.mark.parametrize("port", ["silent", "closed"])
def test_nobody_answers(at, silent, monkeypatch, port):
    if port == "closed":
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            silent = server.getsockname()[1]
    at(silent)
    monkeypatch.setattr(hub, "ANSWER", 0.3)
    tried, begun = [], time.perf_counter()
    with pytest.raises(MachineError, match="no/model is not here .* hf download no/model"):
        hub.from_hub("no/model", "weights: no/model", absent(tried))
    assert time.perf_counter() - begun < SOON
    assert tried == [True]  # and no file of it is asked for


@pytest.mark.parametrize("model", ["some/model", "no/model"])
def test_a_hub_that_answers_is_read(at, answering, model):
    port, asked = answering
    at(port)
    tried = []
    assert hub.from_hub(model, model, absent(tried)) == model
    assert tried == [True, False] and asked == [f"/api/models/{model}"]


def test_what_is_here_asks_nobody(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "_ask", None)
    assert hub.from_hub("here", "here", lambda where, how: where) == "here"
    with pytest.raises(UsageError, match="x is not a whole Hugging Face folder .not in the cache"):
        hub.from_hub(str(tmp_path), "x", absent([]))


@pytest.mark.parametrize("spec", ["hf:no/model", "hubert.base"])
def test_an_unknown_id_without_a_network(at, silent, monkeypatch, spec):
    at(silent)
    monkeypatch.setattr(hub, "ANSWER", 0.3)
    begun = time.perf_counter()
    with pytest.raises(MachineError, match="hf download no/model"):
        build_upstream(spec, {} if spec.startswith("hf:") else {"weights": "no/model"})
    assert time.perf_counter() - begun < SOON
