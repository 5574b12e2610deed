"""What Intel's certification service hands out, and how each document is named.

The shape is that of PCS (Intel SGX and TDX Provisioning Certification Service API 4.0), and of a PCCS that
caches it::

    /sgx/certification/v4/pckcrl?ca=platform&encoding=der    DER, revoked PCK certificates of one authority
    /sgx/certification/v4/rootcacrl                          DER, the root's revocation list (PCCS only)
    /tdx/certification/v4/tcb?fmspc=00806F050000             JSON, TCB levels of one family of platforms
    /tdx/certification/v4/qe/identity                        JSON, the identity of the quoting enclave

and the last two for SGX below ``/sgx``. Intel serves the root's list elsewhere, as a file. The same names
make up a folder of endorsements, with the query as the last part; a document is kept as `answers` says, the
root's list as bare DER. Every part of a name is checked: a family is six bytes, an authority or a kind of TEE
one of two words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wasmkeep.endorsements.answers import CHAIN_BYTES, der_of_hex, join, split, split_statement
from wasmkeep.endorsements.bodies import check_der
from wasmkeep.errors import InputError

__all__ = ["IntelDocument", "PckAuthority", "PckCrl", "QeIdentity", "RootCaCrl", "TcbInfo", "Tee"]

LIST_BYTES = 1024 * 1024
STATEMENT_BYTES = 512 * 1024
_FMSPC_BYTES = 6
_FMSPC = re.compile(r"[0-9A-Fa-f]{12}\Z")


class Tee(StrEnum):
    """A kind of TEE with statements of its own."""

    SGX = "sgx"
    TDX = "tdx"


class PckAuthority(StrEnum):
    """Which of Intel's two authorities issued a platform's PCK certificate."""

    PROCESSOR = "processor"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class PckCrl:
    """The PCK certificates that one authority revoked."""

    authority: PckAuthority

    max_bytes = LIST_BYTES + 3 * CHAIN_BYTES
    media_type = "application/octet-stream"
    chain_headers = ("SGX-PCK-CRL-Issuer-Chain",)
    url_path = "sgx/certification/v4/pckcrl"
    description = "list of revoked PCK certificates"

    @property
    def query(self) -> str:
        return f"ca={self.authority}&encoding=der"

    @property
    def file_path(self) -> str:
        return f"{self.url_path}/ca={self.authority}"

    def received(self, chain: str, body: bytes) -> bytes:
        return join(chain, der_of_hex(body), self.description)

    def check(self, kept: bytes) -> None:
        check_der(split(kept, self.description).body, self.description)


@dataclass(frozen=True, slots=True)
class RootCaCrl:
    """The authorities that Intel's root revoked."""

    max_bytes = 2 * LIST_BYTES
    media_type = "application/pkix-crl"
    chain_headers = ()
    query = ""
    description = "revocation list of Intel's root"

    @property
    def url_path(self) -> str:
        return "sgx/certification/v4/rootcacrl"

    @property
    def file_path(self) -> str:
        return "sgx/certification/v4/rootcacrl"

    def received(self, _: str, body: bytes) -> bytes:
        return der_of_hex(body)

    def check(self, kept: bytes) -> None:
        check_der(kept, self.description)


@dataclass(frozen=True, slots=True)
class PublishedRootCaCrl(RootCaCrl):
    """The same list, where Intel publishes it."""

    @property
    def url_path(self) -> str:
        return "IntelSGXRootCA.der"


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """TCB levels of one family of platforms; ``fmspc`` is 6 bytes, as the PCK certificate has them."""

    tee: Tee
    fmspc: bytes

    max_bytes = STATEMENT_BYTES + 3 * CHAIN_BYTES
    media_type = "application/json"
    chain_headers = ("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain")
    statement = "tcbInfo"
    description = "TCB info"

    def __post_init__(self) -> None:
        if len(self.fmspc) != _FMSPC_BYTES:
            raise _malformed(f"{len(self.fmspc)} bytes", f"{_FMSPC_BYTES} bytes")

    @classmethod
    def of_digits(cls, tee: Tee, fmspc: str) -> TcbInfo:
        """By 12 hexadecimal digits. Raises ``InputError`` (check ``endorsements.name``)."""
        if not _FMSPC.match(fmspc):
            raise _malformed(repr(fmspc[:32]), f"{2 * _FMSPC_BYTES} hexadecimal digits")
        return cls(tee, bytes.fromhex(fmspc))

    @property
    def url_path(self) -> str:
        return f"{self.tee}/certification/v4/tcb"

    @property
    def query(self) -> str:
        return f"fmspc={self.fmspc.hex().upper()}"

    @property
    def file_path(self) -> str:
        return f"{self.url_path}/fmspc={self.fmspc.hex()}"

    def received(self, chain: str, body: bytes) -> bytes:
        return join(chain, body, self.description)

    def check(self, kept: bytes) -> None:
        split_statement(split(kept, self.description).body, self.statement, self.description)


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """What a genuine quoting enclave of this kind is."""

    tee: Tee

    max_bytes = STATEMENT_BYTES + 3 * CHAIN_BYTES
    media_type = "application/json"
    chain_headers = ("SGX-Enclave-Identity-Issuer-Chain",)
    query = ""
    statement = "enclaveIdentity"
    description = "quoting enclave's identity"

    @property
    def url_path(self) -> str:
        return f"{self.tee}/certification/v4/qe/identity"

    @property
    def file_path(self) -> str:
        return self.url_path

    def received(self, chain: str, body: bytes) -> bytes:
        return join(chain, body, self.description)

    def check(self, kept: bytes) -> None:
        split_statement(split(kept, self.description).body, self.statement, self.description)


IntelDocument = PckCrl | RootCaCrl | TcbInfo | QeIdentity


def _malformed(found: str, required: str) -> InputError:
    return InputError("endorsements.name", "FMSPC is malformed", found=found, required=required)
