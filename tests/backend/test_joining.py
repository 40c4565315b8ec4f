"""RAY_ADDRESS in every form that people have set, and what may answer there. Ray itself is not started."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import ray

from astmoa.backend import joining
from astmoa.cli.main import main
from astmoa.errors import RunError
from tests.helpers.machines import free_port

FORM = "give HOST:PORT of the cluster's head, such as 10.0.0.1:6379, or unset RAY_ADDRESS to run here alone"


@pytest.fixture(autouse=True)
def _nothing_started_here(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(joining, "PATIENCE", 2.0)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("told", [None, "", "  ", "local", " local "])
def test_alone(told, monkeypatch):
    if told is not None:
        monkeypatch.setenv("RAY_ADDRESS", told)
    assert joining.joinable() is False


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            "http://127.0.0.1:8265",
            "=http://127.0.0.1:8265 is where Ray takes jobs (ray job submit), which a sweep can",
        ),
        ("HTTPS://ray.example.org", "is where Ray takes jobs"),
        ("http://ann:hush@host:8265", "=http://***@host:8265 is where"),
        ("ann:hush@host:8265", "=***@host:8265 is no address of a cluster"),
        ("ray://head:10001", "is for Ray Client, through which no sweep can be run: run it there (ray submit)"),
        ("ray://", "is for Ray Client"),
        ("redis://head:6379", "is no address of a cluster"),
        ("head", "is no address of a cluster"),
        ("head:", "is no address"),
        (":6379", "is no address"),
        ("127.0.0.1:abc", "is no address"),
        ("127.0.0.1:0", "is no address"),
        ("127.0.0.1:99999", "is no address"),
        ("::1:6379", "is no address"),
        ("[::1]", "is no address"),
        ("head:6379/x", "is no address"),
        ("head:6379?x", "is no address"),
        ("ann@head:6379", "is no address"),
        ("a b:6379", "is no address"),
        ("head:6379,other:6379", "is no address"),
        ("LOCAL", "is no address"),
    ],
)
def test_what_is_no_address_of_a_cluster_is_one_line(told, words, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", told)
    with pytest.raises(RunError) as raised:
        joining.joinable()
    assert words in str(raised.value)
    assert str(raised.value).endswith(FORM)


def test_the_doctor_says_so_too(monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    (line,) = capsys.readouterr().err.splitlines()
    assert (end.value.code, line[:50]) == (2, "error: RAY_ADDRESS=http://127.0.0.1:8265 is where ")


def test_what_ray_start_has_left_here_is_joined_and_asked_for_where_it_is_wanted(monkeypatch, tmp_path):
    monkeypatch.setattr(joining, "_ask", lambda address, *words: asked.append(address))
    asked = []
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(RunError, match="RAY_ADDRESS=auto, and no `ray start` was called here: give HOST:PORT"):
        joining.joinable()
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text("10.0.0.1:6379\n")
    for told in ("auto", "", " "):
        monkeypatch.setenv("RAY_ADDRESS", told)
        assert joining.joinable() is True
    assert asked == ["10.0.0.1:6379"] * 3
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert joining.joinable() is (file.stat().st_uid == 0)  # of somebody else's, who would get our token


def ask(address, monkeypatch):
    """What is said, and after how many seconds."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    began = time.monotonic()
    with pytest.raises(RunError) as raised:
        joining.joinable()
    assert time.monotonic() - began < 10
    return str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_where_nothing_listens_it_is_said_at_once(host, monkeypatch):
    address = f"{host}:{free_port()}"
    told = ask(address, monkeypatch)
    assert told == f"no Ray answers at RAY_ADDRESS={address}: start it, or unset RAY_ADDRESS to run here alone"


def test_a_host_that_there_is_not(monkeypatch):
    told = ask("no-such-host.invalid:6379", monkeypatch)
    assert told.startswith("RAY_ADDRESS=no-such-host.invalid:6379: there is no such host") or "no Ray answers" in told


def test_a_port_that_somebody_else_has(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        told = ask(f"127.0.0.1:{server.server_address[1]}", monkeypatch)
    finally:
        server.shutdown()
        server.server_close()
    assert "no Ray answers at RAY_ADDRESS=127.0.0.1:" in told
    assert "something else is there" in told


@pytest.mark.slow
def test_a_port_that_never_answers(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = ask(f"127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
    assert "no Ray answers at RAY_ADDRESS=127.0.0.1:" in told


@pytest.fixture
def head():
    """One that asks for a token, and is otherwise none."""

    class Closed(grpc.ServerInterceptor):
        code = grpc.StatusCode.UNAUTHENTICATED

        def intercept_service(self, continuation, call):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(self.code, "no"))

    closed = Closed()
    server = grpc.server(ThreadPoolExecutor(1), interceptors=[closed])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", closed
    server.stop(None)


def test_a_cluster_that_wants_its_token_says_so(head, monkeypatch):
    address, server = head
    assert "does it want its token? Set RAY_AUTH_MODE=token" in ask(address, monkeypatch)
    server.code = grpc.StatusCode.UNIMPLEMENTED
    assert "something else is there (UNIMPLEMENTED)" in ask(address, monkeypatch)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Version mismatch: The cluster was started with: Ray: 2.55.0 Python: 3.11.2 This process on node x was "
            "started with: Ray: 2.60.0 Python: 3.11.7",
            "the cluster runs Ray 2.55.0 with Python 3.11.2, here are Ray 2.60.0 and Python 3.11.7",
        ),
        ("Failed to connect to Ray cluster at 10.0.0.1:6379", "does it want its token?"),
        ("something else", "cannot be joined (something else): ray status tells more; unset RAY_ADDRESS to run here"),
    ],
)
def test_why_ray_cannot_be_joined_is_one_line(text, words, monkeypatch):
    def init(**options):
        raise Exception(f"{text}\n")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RunError) as raised:
        joining.join()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("told", "seen"), [(" 10.0.0.1:6379 ", "10.0.0.1:6379"), ("auto", None), (" ", None)])
def test_ray_gets_the_address_as_it_was_understood(told, seen, monkeypatch):
    found = []
    monkeypatch.setattr(ray, "init", lambda **options: found.append(os.environ.get("RAY_ADDRESS")))
    monkeypatch.setenv("RAY_ADDRESS", told)
    joining.join()
    assert found == [seen]
    assert os.environ["RAY_ADDRESS"] == told
