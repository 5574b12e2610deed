"""Services on local sockets that behave as AMD's and Intel's do, or as a name of a fault says."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from wasmkeep.endorsements import IntelDocument
from wasmkeep.evidence.dcap import collateral_json
from wasmkeep.evidence.dcap.evidence import Collateral

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
Answer = tuple[bytes, Mapping[str, str]]

FAULTS = {
    "429": ("HostRefused", "endorsements.rate_limited"),
    "400": ("HostRefused", "endorsements.unknown"),
    "404": ("HostRefused", "endorsements.unknown"),
    "401": ("HostRefused", "endorsements.denied"),
    "403": ("HostRefused", "endorsements.denied"),
    "500": ("HostUnreachable", "endorsements.failing"),
    "503": ("HostUnreachable", "endorsements.failing"),
    "204": ("HostUnreachable", "endorsements.failing"),
    "301": ("HostUnreachable", "endorsements.redirected"),
    "302": ("HostUnreachable", "endorsements.redirected"),
    "307": ("HostUnreachable", "endorsements.redirected"),
    "page": ("HostUnreachable", "endorsements.body"),
    "empty": ("HostUnreachable", "endorsements.body"),
    "huge": ("HostUnreachable", "endorsements.body"),
    "endless": ("HostUnreachable", "endorsements.body"),
    "gzip": ("HostUnreachable", "endorsements.body"),
    "cut": ("HostUnreachable", "endorsements.unreachable"),
    "headers": ("HostUnreachable", "endorsements.unreachable"),
    "garbage": ("HostUnreachable", "endorsements.unreachable"),
    "slow": ("TimedOut", "endorsements.slow"),
    "silent": ("TimedOut", "endorsements.slow"),
}
"""What a service may do wrong, and the error that names it: its class and check."""


class Service(ThreadingHTTPServer):
    """Answers by ``answers`` (path with query), or as ``fault`` says; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = dict(answers)
        self.fault = ""
        self.limited = 0  # so many of the next requests are answered with 429
        self.fault_headers: dict[str, str] = {}
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.together = 0
        self.most_together = 0
        self.pause = 0.0
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """A client that hung up is what some tests want."""


@contextlib.contextmanager
def running(answers: Mapping[str, Answer], *, tls: ssl.SSLContext | None = None) -> Iterator[Service]:
    with Service(answers) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass

    def do_GET(self) -> None:
        server = self.server
        with server.counting:
            server.requests.append(self.path)
            server.tokens.append(self.headers.get("Authorization"))
            server.together += 1
            limited, server.limited = server.limited > 0, max(0, server.limited - 1)
            server.most_together = max(server.most_together, server.together)
        time.sleep(server.pause)
        with server.counting:
            server.together -= 1
        with contextlib.suppress(OSError):  # a client that stops reading is what some tests want
            self._answer("429" if limited else server.fault)

    def _answer(self, fault: str) -> None:
        if fault.isdigit():
            location = {"Location": f"{self.server.url}/elsewhere"} if fault.startswith("3") else {}
            self._send(int(fault), b"", location | self.server.fault_headers)
        elif fault == "page":
            self._send(200, b"<html>please log in</html>", self._headers())
        elif fault == "empty":
            self._send(200, b"", self._headers())
        elif fault == "huge":
            self._send(200, b"\x30" * (3 << 20), self._headers())
        elif fault == "gzip":
            self._send(200, b"\x30", self._headers() | {"Content-Encoding": "gzip"})
        elif fault == "headers":
            self._send(200, b"", {"X-Long": "x" * 200_000})
        elif fault in _UNFINISHED:
            self.close_connection = True
            _UNFINISHED[fault](self)
        elif self.path in self.server.answers:
            body, headers = self.server.answers[self.path]
            self._send(200, body, headers)
        else:
            self._send(404, b"", {})

    def _headers(self) -> dict[str, str]:
        """Those of the right answer: only its body is wrong."""
        return dict(self.server.answers.get(self.path, (b"", {}))[1])

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _begin(self, size: int | None) -> None:
        self.send_response(200)
        for name, value in self._headers().items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        if size is not None:
            self.send_header("Content-Length", str(size))
        self.end_headers()


def _endless(handler: _Handler) -> None:
    handler._begin(None)
    for _ in range(10_000):
        handler.wfile.write(b"\x30" * 1024)


def _slow(handler: _Handler) -> None:
    handler._begin(None)
    for _ in range(50):
        handler.wfile.write(b"\x30")
        handler.wfile.flush()
        time.sleep(0.02)


def _cut(handler: _Handler) -> None:
    handler._begin(1000)
    handler.wfile.write(b"\x30" * 10)


def _silent(handler: _Handler) -> None:
    time.sleep(0.5)


def _garbage(handler: _Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n\r\n")


_UNFINISHED = {"endless": _endless, "slow": _slow, "cut": _cut, "silent": _silent, "garbage": _garbage}


def certificate_text(content: bytes) -> str:
    """PEM of the right outer shape around DER that is none."""
    body = base64.encodebytes(b"\x30\x82" + len(content).to_bytes(2, "big") + content).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


_ROOT = certificate_text(b"root" * 40)
FMSPC = bytes.fromhex("00806f050000")
MADE = Collateral(
    pck_crl_issuer_chain=certificate_text(b"platform" * 20) + _ROOT,
    root_ca_crl=b"\x30\x05root!",
    pck_crl=b"\x30\x82\x01\x00" + b"pck " * 64,
    tcb_info_issuer_chain=certificate_text(b"signer" * 20) + _ROOT,
    tcb_info='{"id":"TDX","version":3,"text":"} \\" é","tcbLevels":[{"tcb":{}}]}',
    tcb_info_signature=bytes(range(64)),
    qe_identity_issuer_chain=certificate_text(b"signer" * 20) + _ROOT,
    qe_identity='{"id":"TD_QE","version":2}',
    qe_identity_signature=bytes(range(64, 128)),
)
"""Collateral of the right outer shape, whose JSON no encoder would write just so."""


def genuine(row: str) -> Collateral:
    """A row's collateral; chains end with a line's end, which in some rows was cut off."""
    found = collateral_json.decode((VECTORS / row / "collateral.json").read_bytes())
    chains = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
    return replace(found, **{name: getattr(found, name).rstrip("\n") + "\n" for name in chains})


def intel_answers(
    collateral: Collateral, *, tee: str = "tdx", fmspc: bytes = FMSPC, ca: str = "platform", pccs: bool = True
) -> dict[str, Answer]:
    """What Intel's service answers: lists in DER; or a PCCS, which writes lists in hexadecimal."""

    def chain(name: str, text: str) -> dict[str, str]:
        return {name: quote(text, safe="")}

    def statement(name: str, text: str, signature: bytes) -> bytes:
        return f'{{"{name}":{text},"signature":"{signature.hex()}"}}'.encode()

    crl, root = collateral.pck_crl, collateral.root_ca_crl
    return {
        f"/sgx/certification/v4/pckcrl?ca={ca}&encoding=der": (
            crl.hex().encode() if pccs else crl,
            chain("SGX-PCK-CRL-Issuer-Chain", collateral.pck_crl_issuer_chain),
        ),
        "/sgx/certification/v4/rootcacrl" if pccs else "/IntelSGXRootCA.der": (
            root.hex().encode() if pccs else root,
            {},
        ),
        f"/{tee}/certification/v4/tcb?fmspc={fmspc.hex().upper()}": (
            statement("tcbInfo", collateral.tcb_info, collateral.tcb_info_signature),
            chain("TCB-Info-Issuer-Chain", collateral.tcb_info_issuer_chain),
        ),
        f"/{tee}/certification/v4/qe/identity": (
            statement("enclaveIdentity", collateral.qe_identity, collateral.qe_identity_signature),
            chain("SGX-Enclave-Identity-Issuer-Chain", collateral.qe_identity_issuer_chain),
        ),
    }


def path_of(document: IntelDocument) -> str:
    return f"/{document.url_path}" + (f"?{document.query}" if document.query else "")


def fmspc_of(collateral: Collateral) -> bytes:
    return bytes.fromhex(json.loads(collateral.tcb_info)["fmspc"])
