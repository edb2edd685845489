import contextlib
import hashlib
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jaxbandit.checks import InputError
from jaxbandit.datasets import fetch_movielens, movielens

ARCHIVE = b"an archive, as far as a checksum can tell"
KNOWN = "md5:" + hashlib.md5(ARCHIVE).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A web server on loopback with one file: its address, and the requests it got."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    requests = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self):
            requests.append(self.path)
            self.send_response(200 if self.path == "/ml-1m.zip" else 404)
            self.send_header("Content-Length", str(len(ARCHIVE)))
            self.end_headers()
            self.wfile.write(ARCHIVE)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", requests
        http.shutdown()
        thread.join(timeout=10)


def refusal(cache, url, known_hash=KNOWN) -> str:
    with pytest.raises(InputError) as caught:
        fetch_movielens(cache, url, known_hash, notify=lambda _: None)
    said = str(caught.value)
    assert "\n" not in said
    assert url in said
    assert "--movielens DIR" in said
    return said


def test_a_download_is_announced_verified_and_kept(tmp_path, server, capfd):
    url, requests = server
    said = []
    path = fetch_movielens(tmp_path / "cache", url + "/ml-1m.zip", KNOWN, notify=said.append)
    assert path.read_bytes() == ARCHIVE
    assert path.name == "ml-1m.zip"
    assert len(said) == 1
    for word in (url, str(tmp_path), "research", "redistributed", "Harper and Konstan (2015)"):
        assert word in said[0]

    again = fetch_movielens(tmp_path / "cache", url + "/ml-1m.zip", KNOWN, notify=said.append)
    assert again == path
    assert len(said) == len(requests) == 1
    assert capfd.readouterr() == ("", "")


def test_a_damaged_copy_is_fetched_again(tmp_path, server):
    url, requests = server
    (tmp_path / "ml-1m.zip").write_bytes(ARCHIVE[:5])
    path = fetch_movielens(tmp_path, url + "/ml-1m.zip", KNOWN, notify=lambda _: None)
    assert path.read_bytes() == ARCHIVE
    assert len(requests) == 1


def test_a_wrong_checksum_leaves_nothing(tmp_path, server):
    said = refusal(tmp_path, server[0] + "/ml-1m.zip", "md5:" + "0" * 32)
    assert hashlib.md5(ARCHIVE).hexdigest() in said
    assert list(tmp_path.iterdir()) == []


def test_an_absent_file(tmp_path, server):
    assert "404" in refusal(tmp_path, server[0] + "/absent.zip")
    assert len(server[1]) == 1


def test_no_connection(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound, but listening to nobody
        taken.bind(("127.0.0.1", 0))
        said = refusal(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/ml-1m.zip")
    assert "refused" in said
    assert list(tmp_path.iterdir()) == []


def drip(connection, data, stop):
    """Byte by byte, each before a wait for the next would run out."""
    for byte in data:
        connection.sendall(bytes([byte]))
        if stop.wait(0.1):
            return


HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
TOO_SLOW = {
    "headers byte by byte": (b"", HEADERS * 100),
    "nothing at all": (b"", b""),
    "half, then nothing": (HEADERS + bytes(150_000), b""),
    "half, then byte by byte": (HEADERS + bytes(150_000), bytes(100_000)),
    "bytes without an end": (b"HTTP/1.1 200 OK\r\n\r\n", bytes(100_000)),
    "chunks of a byte": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n" * 9999,
    ),
}


@pytest.mark.parametrize("name", TOO_SLOW)
def test_a_server_that_keeps_one_waiting(name, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(movielens, "_PATIENCE", 0.5)
    at_once, slowly = TOO_SLOW[name]
    stop = threading.Event()
    before = set(threading.enumerate())

    def serve():
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(at_once)
            drip(connection, slowly, stop)
            stop.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        started = time.monotonic()
        said = refusal(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/ml-1m.zip")
        assert time.monotonic() - started < 10
        stop.set()
        server.join(10)
    assert "127.0.0.1" in said
    assert "within 0.5 s" in said or "timed out" in said
    assert list(tmp_path.iterdir()) == []
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert list(tmp_path.iterdir()) == []  # Nor by the thread that waited on.


def test_a_server_that_stops_half_way(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(HEADERS + bytes(150_000))

    (tmp_path / "ml-1m.zip").write_bytes(b"an older copy")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        refusal(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/ml-1m.zip")
        server.join(10)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an older copy"]


def test_a_slow_download_that_gets_on_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(movielens, "_PATIENCE", 1.0)
    data = bytes(1 << 18)

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n".encode())
            for start in range(0, len(data), 1 << 16):
                time.sleep(0.4)
                connection.sendall(data[start : start + (1 << 16)])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/ml-1m.zip"
        known = "md5:" + hashlib.md5(data).hexdigest()
        path = fetch_movielens(tmp_path, url, known, notify=lambda _: None)
        server.join(10)
    assert path.read_bytes() == data


def test_a_cache_that_cannot_be_written(tmp_path, server):
    (tmp_path / "file").write_text("")
    said = refusal(tmp_path / "file" / "cache", server[0] + "/ml-1m.zip")
    assert str(tmp_path / "file") in said
    assert (tmp_path / "file").read_text() == ""


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(InputError, match=r"pooch.* install the extra 'studies'"):
        fetch_movielens(tmp_path)
