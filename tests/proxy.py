"""A bad line between the app and Supabase: a proxy on loopback that loses, refuses or replaces single answers."""

import contextlib
import http.client
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from flask import Flask

from app import Settings, create_app
from tests.settings import with_cheap_codes

CHECKOUT = Path(__file__).parent.parent

# lost: Supabase does what it was asked, and the line breaks before the answer. cut: the line breaks before Supabase
# has heard of it. bad gateway: something on the way answers 502 in Supabase's place.
# slow: no answer until the app has hung up. broken: Supabase's own 500. garbage: a 200 that makes no sense. half: the
# line breaks in the middle of the answer.
Trouble = Literal["lost", "cut", "bad gateway", "slow", "broken", "garbage", "half"]
AnyTrouble = Trouble | Callable[[], object] | subprocess.Popen[bytes]


class _Server(ThreadingHTTPServer):
    request_queue_size = 200  # of 5, the default, a burst of connections loses some


class Proxy:
    """Forwards everything, and writes it down in `requests` as "METHOD path?query"."""

    def __init__(self, upstream: str) -> None:
        self.requests: list[str] = []
        self._upstream = urlsplit(upstream).netloc
        self._troubles: list[tuple[str, AnyTrouble]] = []
        self._lasting: tuple[str, Trouble] | None = None
        self._over = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or the body waits 40 ms for the client to acknowledge the headers

            def do_GET(self) -> None:
                proxy._pass_on(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def upset(self, part_of_path: str, trouble: Trouble | Callable[[], object]) -> None:
        """Have trouble with the next request whose path and query hold `part_of_path`, or do something before it."""
        self._troubles.append((part_of_path, trouble))

    def kills(self, process: subprocess.Popen[bytes], part_of_path: str) -> None:
        """Kill the app once Supabase has done the next such request, and before the app hears of it."""
        self._troubles.append((part_of_path, process))

    @contextlib.contextmanager
    def trouble(self, part_of_path: str, trouble: Trouble) -> Iterator[None]:
        """Have trouble with every request whose path and query hold `part_of_path` while the block runs."""
        self._lasting = part_of_path, trouble
        self._over.clear()
        try:
            yield
        finally:
            self._lasting = None
            self._over.set()

    def asked(self, part_of_path: str) -> list[str]:
        return [request for request in self.requests if part_of_path in request]

    def _pass_on(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        self.requests.append(f"{request.command} {request.path}")
        trouble = self._trouble_with(request.path)
        if trouble == "cut" or (trouble is None and _has_hung_up(request)):  # busy, it comes to this when all is over
            request.close_connection = True
        elif trouble == "bad gateway":
            _send(request, 502, {"Content-Type": "text/html"}, b"<h1>502 Bad Gateway</h1>")
        elif trouble == "broken":
            _send(request, 500, {"Content-Type": "application/json"}, b'{"code":500,"msg":"broken"}')
        elif trouble == "garbage":
            _send(request, 200, {"Content-Type": "application/json"}, b'{"nothing": ["that", "makes", "sense"')
        elif trouble == "half":
            _send(request, 200, {"Content-Type": "application/json"}, b'{"access_token": "', length=4000)
            request.close_connection = True
        elif trouble == "slow":
            self._over.wait(10)
            request.close_connection = True
        elif trouble == "lost":
            self._forward(request, body)
            request.close_connection = True
        elif isinstance(trouble, subprocess.Popen):
            self._forward(request, body)
            trouble.kill()
            trouble.wait()
            request.close_connection = True
        else:
            if trouble is not None:
                trouble()
            _send(request, *self._forward(request, body))

    def _trouble_with(self, path: str) -> AnyTrouble | None:
        for found in self._troubles:
            if found[0] in path:
                self._troubles.remove(found)
                return found[1]
        if self._lasting and self._lasting[0] in path:
            return self._lasting[1]
        return None

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPConnection(self._upstream, timeout=30)
        with contextlib.closing(line):
            headers = {
                name: text for name, text in request.headers.items() if name.lower() not in ("host", "connection")
            }
            line.request(request.command, request.path, body, headers)
            answer = line.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()


def _has_hung_up(request: BaseHTTPRequestHandler) -> bool:
    readable, _, _ = select.select([request.connection], [], [], 0)
    try:
        return bool(readable) and not request.connection.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        return True


def _send(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes, length: int | None = None
) -> None:
    request.send_response(status)
    for name, text in headers.items():
        if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
            request.send_header(name, text)
    if status != 204:
        request.send_header("Content-Length", str(length or len(body)))
    request.end_headers()
    request.wfile.write(body)


@contextlib.contextmanager
def running_proxy(upstream: str | None = None) -> Iterator[Proxy]:
    proxy = Proxy(upstream or os.environ["SUPABASE_URL"])
    thread = threading.Thread(target=proxy.server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        thread.join()
        proxy.server.server_close()


SERVER = """
import socket, sys, waitress
from tests.proxy import app_behind_proxy
waitress.serve(app_behind_proxy(), sockets=[socket.socket(fileno=int(sys.argv[1]))], threads=30)
"""


@contextlib.contextmanager
def running_app(proxy: Proxy) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The app in a process of its own, behind the proxy; give its URL and the process, which may be killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listener.fileno())],
            cwd=CHECKOUT,
            env=os.environ | {"PROXY_URL": proxy.url},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        httpx.get(f"{url}/healthz", headers={"Host": "localhost"}, timeout=30).raise_for_status()
        yield url, process
    finally:
        process.terminate()
        _, log = process.communicate()
        print(log.decode())  # shown when the test fails


def app_behind_proxy(url: str | None = None, **settings: Any) -> Flask:
    """The app, reaching Supabase through the proxy at `url` or PROXY_URL. Tokens go on naming Supabase itself."""
    app = create_app(Settings(supabase_url=url or os.environ["PROXY_URL"], **settings))
    services = app.extensions["stepup"]
    issuer = replace(services.issuer, url=f"{os.environ['SUPABASE_URL']}/auth/v1")
    flows = {name: replace(getattr(services, name), issuer=issuer) for name in ("apps", "passkeys", "codes")}
    app.extensions["stepup"] = replace(services, issuer=issuer, **flows)
    return with_cheap_codes(app)
