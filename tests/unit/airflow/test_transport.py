"""The way to the manager: bounded in time and size, through proxies and TLS, the same by hook and by client."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import json
import select
import socket
import socketserver
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from likepion_provider.errors import BadRequest, LikepionError, OutcomeUnknown, Transient
from likepion_provider.hooks.address import address_of
from likepion_provider.hooks.likepion import LikepionHook
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import MAX_ANSWER_BYTES, LinkReport

REPORT = LinkReport("post", "account", ("https://tide.example/1",))
RESULTS = b'{"success":true,"results":[{"link_index":0,"success":true}]}'


class Manager(ThreadingHTTPServer):
    """Stores every link that it gets, and counts the requests."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.inserts = 0
        self.encoding = ""
        self.body = RESULTS
        self.pause_s = 0.0
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, *_: object) -> None:
        """Quiet: clients that do not trust it hang up."""


class _Answers(BaseHTTPRequestHandler):
    server: Manager

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.inserts += 1
        self.send_response(200)
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.server.pause_s:
                for byte in self.server.body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(self.server.pause_s)
            else:
                self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Proxy(socketserver.ThreadingTCPServer):
    """Forwards and tunnels; or, as a test says, refuses (``407``) or hangs up (``drop``) once it has the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Forwards)
        self.fault = ""
        self.heads: list[bytes] = []


class _Forwards(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = self.rfile.readline()
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            head += line
        self.server.heads.append(head)
        if self.server.fault == "407":
            self.wfile.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        if self.server.fault:
            return
        method, target, _ = head.split(b" ", 2)
        host, _, port = target.removeprefix(b"http://").partition(b"/")[0].partition(b":")
        with socket.create_connection((host.decode(), int(port))) as there:
            if method == b"CONNECT":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                there.sendall(head.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1) + b"\r\n")
                there.sendall(self.rfile.read1())
            _pump(self.connection, there)


def _pump(here: socket.socket, there: socket.socket) -> None:
    while True:
        for side in select.select([here, there], [], [], 10)[0]:
            with contextlib.suppress(OSError):
                if data := side.recv(65536):
                    (there if side is here else here).sendall(data)
                    continue
            return


@contextlib.contextmanager
def running(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def manager() -> Iterator[Manager]:
    with running(Manager()) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running(Proxy()) as server:
        yield server


def self_signed(folder: Path, name: str) -> tuple[str, str]:
    """The paths of a certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(paths[0]), str(paths[1])


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    return self_signed(tmp_path, "server")


@pytest.fixture
def tls_manager(certificate: tuple[str, str]) -> Iterator[Manager]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with running(Manager(context)) as server:
        yield server


def url_of(server: Any, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_address[1]}"


Insert = Callable[..., Any]


@pytest.fixture(params=["hook", "client"])
def insert(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Insert:
    """Sends one insert as a connection with some extras says."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def by_hook(url: str, **extra: Any) -> Any:
        value = {"conn_type": "likepion", "host": url, "password": "key-of-a-test", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(value))
        return LikepionHook().insert(REPORT)

    async def by_client(address: ManagerAddress) -> Any:
        async with ManagerClient(address) as client:
            return await client.insert(REPORT)

    if request.param == "hook":
        return by_hook
    return lambda url, **extra: asyncio.run(by_client(address_of("c", connection(url, **extra))))


def connection(url: str, **extra: Any) -> Connection:
    return Connection(conn_id="c", conn_type="likepion", host=url, password="key-of-a-test", extra=json.dumps(extra))


# --- bounds ---


def gzipped(size: int) -> bytes:
    return gzip.compress(bytes(size), 1)


def deflated(size: int) -> bytes:
    return zlib.compress(bytes(size), 1)


def brotlied(size: int) -> bytes:
    packed: bytes = pytest.importorskip("brotli").compress(bytes(size), quality=1)
    return packed


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzipped), ("deflate", deflated), ("br", brotlied), ("", bytes)]
)
def test_no_answer_is_read_beyond_its_bound_whatever_its_encoding(
    insert: Insert, manager: Manager, encoding: str, pack: Callable[[int], bytes]
) -> None:
    manager.encoding, manager.body = encoding, pack(MAX_ANSWER_BYTES + 1 if not encoding else 20 * MAX_ANSWER_BYTES)
    with pytest.raises(OutcomeUnknown, match=f"more than {MAX_ANSWER_BYTES} bytes"):
        insert(url_of(manager))


def test_an_answer_that_drips_ends_with_the_calls_time(insert: Insert, manager: Manager) -> None:
    manager.pause_s = 0.05
    manager.body = RESULTS + b" " * 1000
    began_s = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="answer lost"):
        insert(url_of(manager), timeout_s=1)
    assert 0.9 < time.monotonic() - began_s < 2


async def test_the_hook_works_where_an_event_loop_runs(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"conn_type": "likepion", "host": url_of(manager), "password": "key-of-a-test"}
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(value))
    (record,) = LikepionHook().insert(REPORT)
    assert record.stored


def test_the_hook_follows_no_redirect_and_tests_the_connection_through_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for answer, found in ((b"404 No", True), (b"302 Found\r\nLocation: http://127.0.0.1:1/", False)):

        class Handler(socketserver.StreamRequestHandler):
            said = answer

            def handle(self) -> None:
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                self.wfile.write(b"HTTP/1.1 " + self.said + b"\r\nContent-Length: 2\r\n\r\n{}")

        with running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
            value = {"conn_type": "likepion", "host": url_of(server), "password": "key-of-a-test"}
            monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(value))
            assert LikepionHook().test_connection()[0] is found


@pytest.mark.parametrize("host", ["http://[::1", "http://127.0.0.1:99999", "ftp://manager.example"])
def test_a_host_that_makes_no_address_is_refused(insert: Insert, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(BadRequest, match="manager's address"):
        insert(host)


# --- proxies ---


@pytest.mark.parametrize("by", ["dictionary", "text", "all", "environment"])
def test_a_plain_request_goes_through_the_proxy(
    insert: Insert, manager: Manager, proxy: Proxy, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = url_of(proxy).replace("//", "//user:p%40ss-of-a-test@")
    extra: dict[str, Any] = {
        "dictionary": {"proxies": {"http": where, "https": "http://127.0.0.1:1"}},
        "text": {"proxies": where},
        "all": {"proxies": {"all": where.removeprefix("http://")}},
        "environment": {},
    }[by]
    if by == "environment":
        monkeypatch.setenv("HTTP_PROXY", where)
    (record,) = insert(url_of(manager), **extra)
    assert record.stored
    (head,) = proxy.heads
    assert head.startswith(b"POST http://127.0.0.1:")
    assert b"proxy-authorization: basic dxnlcjpwqhnzlw9mlwetdgvzda==" in head.lower()


@pytest.mark.parametrize(("name", "value"), [("NO_PROXY", "127.0.0.1"), ("trust_env", False), ("trust_env", "false")])
def test_the_environments_proxy_is_passed_by_where_that_is_said(
    insert: Insert, manager: Manager, proxy: Proxy, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", url_of(proxy))
    extra = {} if name == "NO_PROXY" else {name: value}
    if not extra:
        monkeypatch.setenv(name, value)
    (record,) = insert(url_of(manager), **extra)
    assert record.stored
    assert proxy.heads == []


def test_tls_goes_through_a_tunnel(
    insert: Insert, tls_manager: Manager, proxy: Proxy, certificate: tuple[str, str]
) -> None:
    (record,) = insert(url_of(tls_manager, "https"), proxies={"https": url_of(proxy)}, verify=certificate[0])
    assert record.stored
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT 127.0.0.1:")
    assert b"key-of-a-test" not in head


@pytest.mark.parametrize(("fault", "words"), [("407", "the proxy answered 407"), ("drop", "not sent")])
def test_a_tunnel_that_is_refused_was_not_sent(
    insert: Insert, tls_manager: Manager, proxy: Proxy, fault: str, words: str
) -> None:
    proxy.fault = fault
    with pytest.raises(Transient, match=words):
        insert(url_of(tls_manager, "https"), proxies={"https": url_of(proxy)}, verify=False)
    assert tls_manager.inserts == 0


def test_a_proxy_that_is_not_there_was_sent_nothing(insert: Insert) -> None:
    with pytest.raises(Transient, match="not sent"):
        insert("http://127.0.0.1:2", proxies="http://127.0.0.1:1")


def test_what_a_plain_proxy_took_and_lost_may_have_been_stored(insert: Insert, manager: Manager, proxy: Proxy) -> None:
    proxy.fault = "drop"
    with pytest.raises(OutcomeUnknown, match="answer lost"):
        insert(url_of(manager), proxies={"http": url_of(proxy)})
    assert len(proxy.heads) == 1


# --- TLS ---


@pytest.mark.parametrize("by", ["false", "text", "file", "environment"])
def test_a_certificate_of_ones_own_is_trusted_where_that_is_said(
    insert: Insert, tls_manager: Manager, certificate: tuple[str, str], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra: dict[str, Any] = {
        "false": {"verify": False},
        "text": {"verify": "false"},
        "file": {"verify": certificate[0]},
        "environment": {},
    }[by]
    if by == "environment":
        with pytest.raises(Transient, match="not sent"):
            insert(url_of(tls_manager, "https"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate[0])
    (record,) = insert(url_of(tls_manager, "https"), **extra)
    assert record.stored


@pytest.mark.parametrize("verify", [None, "", True, "true"])
def test_nothing_but_a_clear_word_switches_the_check_off(insert: Insert, tls_manager: Manager, verify: Any) -> None:
    with pytest.raises(Transient, match="not sent"):
        insert(url_of(tls_manager, "https"), verify=verify)
    assert tls_manager.inserts == 0


# Python 3.10's asyncio leaves the transport of a connection that the server ends in the middle of its handshake.
@pytest.mark.filterwarnings(*(["ignore:.*_SSLProtocolTransport"] if sys.version_info < (3, 11) else []))
def test_a_client_certificate_is_shown(insert: Insert, tmp_path: Path, certificate: tuple[str, str]) -> None:
    own = self_signed(tmp_path, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(own[0])
    context.verify_mode = ssl.CERT_REQUIRED
    both = tmp_path / "both.pem"
    both.write_text(Path(own[0]).read_text() + Path(own[1]).read_text())
    with running(Manager(context)) as server:
        for cert in (list(own), str(both)):
            for verify in (certificate[0], False):
                assert insert(url_of(server, "https"), cert=cert, verify=verify)[0].stored
        with pytest.raises(LikepionError):
            insert(url_of(server, "https"), verify=certificate[0])
    assert server.inserts == 4


# --- what makes no sense ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proxies", "socks5://user:pass-of-a-test@127.0.0.1:1"),
        ("proxies", {"http": "ftp://user:pass-of-a-test@127.0.0.1:1"}),
        ("proxies", {"http": 5}),
        ("proxies", [1]),
        ("verify", 5),
        ("verify", "/no/such/bundle.pem"),
        ("cert", 5),
        ("cert", ["a", "b", "c"]),
        ("cert", "/no/such/certificate.pem"),
        ("trust_env", "perhaps"),
        ("timeout_s", 0),
    ],
)
def test_an_extra_that_makes_no_sense_is_named_and_its_value_kept_quiet(insert: Insert, name: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=name) as error:
        insert("http://127.0.0.1:1", **{name: value})
    assert "pass-of-a-test" not in error.value.advice


def test_an_environment_that_makes_no_sense_is_named(insert: Insert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(BadRequest, match="the environment's proxy"):
        insert("http://127.0.0.1:1")


def test_an_address_can_be_a_key_and_shows_no_secret() -> None:
    address = address_of("c", connection("http://m.example", proxies="http://u:p%40ss-of-a-test@127.0.0.1:1"))
    assert address == ManagerAddress("http://m.example", "key-of-a-test", proxy=address.proxy)
    assert {address: 1}[address]
    assert "of-a-test" not in repr(address)
    assert address.secrets() == ["key-of-a-test", "p%40ss-of-a-test", "p@ss-of-a-test"]
