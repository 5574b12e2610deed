"""What a PCK certificate says of its platform: the SGX extension (Intel SGX PCK certificate profile, 1.3.5).

SEQUENCE of SEQUENCE {object identifier, value}, all under 1.2.840.113741.1.13.1, each once. Numbers that are
not known here stay unread: Intel has added some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from wasmkeep.evidence.dcap import der
from wasmkeep.evidence.dcap.findings import malformed

__all__ = ["SGX_EXTENSION", "PckIdentity", "read_identity"]

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
_PREFIX: Final = bytes.fromhex("2a864886f84d010d01")
_SECTION = "Intel SGX PCK certificate profile, 1.3.5 SGX extensions"
_COMPONENTS = 16
_PCESVN, _CPUSVN = 17, 18


@dataclass(frozen=True, slots=True)
class PckIdentity:
    """``ppid`` and ``platform_instance`` 16 bytes, ``fmspc`` 6, ``pce_id`` 2, ``cpu_svn`` 16; ``components``
    the 16 SVNs that TCB levels compare. ``sgx_type``: 0 standard, 1 scalable, 2 scalable with integrity. What
    a processor CA's certificate does not say is None: the platform instance and the three flags (a platform
    of several packages that can change; platform keys cached by Intel; simultaneous multithreading on)."""

    ppid: bytes
    components: bytes
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt: bool | None


def read_identity(extension: bytes) -> PckIdentity:
    """Read the extension's value. Raises `Rejected` ``dcap.pck.extension``."""
    try:
        return _identity(extension)
    except (ValueError, KeyError) as error:
        message = "the PCK certificate's SGX extension cannot be read"
        found = f"no element {error}" if isinstance(error, KeyError) else str(error)
        raise malformed(
            "dcap.pck.extension", message, found, "one value for each known element", _SECTION
        ) from error


def _identity(extension: bytes) -> PckIdentity:
    fields = _fields(_only(extension, der.SEQUENCE), _PREFIX)
    tcb = _fields(_of(fields, 2, der.SEQUENCE), _PREFIX + b"\x02")
    flags = _fields(_of(fields, 7, der.SEQUENCE), _PREFIX + b"\x07") if 7 in fields else {}
    components = bytes(_integer(tcb, index, 0xFF) for index in range(1, _COMPONENTS + 1))
    return PckIdentity(
        ppid=_octets(fields, 1, 16),
        components=components,
        pce_svn=_integer(tcb, _PCESVN, 0xFFFF),
        cpu_svn=_octets(tcb, _CPUSVN, 16),
        pce_id=_octets(fields, 3, 2),
        fmspc=_octets(fields, 4, 6),
        sgx_type=_enumerated(fields, 5),
        platform_instance=_octets(fields, 6, 16) if 6 in fields else None,
        dynamic_platform=_boolean(flags, 1),
        cached_keys=_boolean(flags, 2),
        smt=_boolean(flags, 3),
    )


def _fields(data: bytes, prefix: bytes) -> dict[int, tuple[int, bytes]]:
    """Values by the last part of their object identifier; each once."""
    found: dict[int, tuple[int, bytes]] = {}
    for tag, content in der.elements(data):
        parts = list(der.elements(content))
        if tag != der.SEQUENCE or len(parts) != 2 or parts[0][0] != der.OBJECT_IDENTIFIER:
            raise ValueError("an element that is not an identifier and a value")
        identifier = parts[0][1]
        if identifier[:-1] != prefix or identifier[-1] >= 0x80:
            raise ValueError(f"an unknown element {identifier.hex()}")
        if identifier[-1] in found:
            raise ValueError(f"element {identifier[-1]} twice")
        found[identifier[-1]] = parts[1]
    return found


def _only(data: bytes, tag: int) -> bytes:
    parts = list(der.elements(data))
    if len(parts) != 1 or parts[0][0] != tag:
        raise ValueError("not one sequence")
    return parts[0][1]


def _of(fields: dict[int, tuple[int, bytes]], index: int, tag: int) -> bytes:
    found, content = fields[index]
    if found != tag:
        raise ValueError(f"element {index} is of another type")
    return content


def _octets(fields: dict[int, tuple[int, bytes]], index: int, size: int) -> bytes:
    content = _of(fields, index, der.OCTET_STRING)
    if len(content) != size:
        raise ValueError(f"element {index} has {len(content)} bytes, not {size}")
    return content


def _integer(fields: dict[int, tuple[int, bytes]], index: int, highest: int, tag: int = der.INTEGER) -> int:
    content = _of(fields, index, tag)
    value = int.from_bytes(content, "big", signed=True)
    if not content or not 0 <= value <= highest:
        raise ValueError(f"element {index} is not a number from 0 to {highest}")
    if value.bit_length() // 8 + 1 != len(content):
        raise ValueError(f"element {index} is not encoded in the fewest bytes")
    return value


def _enumerated(fields: dict[int, tuple[int, bytes]], index: int) -> int:
    return _integer(fields, index, 0xFF, der.ENUMERATED)


def _boolean(fields: dict[int, tuple[int, bytes]], index: int) -> bool | None:
    if index not in fields:
        return None
    content = _of(fields, index, der.BOOLEAN)
    if content not in (b"\x00", b"\xff"):
        raise ValueError(f"element {index} is neither true nor false")
    return content == b"\xff"
