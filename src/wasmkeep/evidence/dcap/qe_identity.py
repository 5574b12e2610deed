"""Intel's QE identity (PCS API v4, version 2): what a genuine quoting enclave's report says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.dcap.findings import malformed
from wasmkeep.evidence.dcap.strict_json import Members, decode
from wasmkeep.evidence.dcap.tcb_info import IsvLevel, isv_level

__all__ = ["QeIdentity", "read_qe_identity"]

_SECTION = "Intel PCS API v4, Get QE Identity"
_VERSION = 2
_U16, _U32 = 0xFFFF, 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """``identifier`` is ``QE`` for SGX and ``TD_QE`` for TDX. ``misc_select`` and its mask have 4 bytes,
    ``attributes`` and their mask 16, ``mrsigner`` 32. ``levels`` begin with the highest SVN."""

    identifier: str
    issued: datetime
    next_update: datetime
    evaluation: int
    misc_select: int
    misc_select_mask: int
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isv_prod_id: int
    levels: tuple[IsvLevel, ...]


def read_qe_identity(text: str) -> QeIdentity:
    """Read the signed text. Raises `Rejected` ``dcap.collateral.qe-identity``."""
    try:
        return _qe_identity(decode(text, "QE identity"))
    except ValueError as error:
        message = "the QE identity cannot be read"
        check = "dcap.collateral.qe-identity"
        raise malformed(check, message, str(error)[:200], "version 2", _SECTION) from error


def _qe_identity(identity: Members) -> QeIdentity:
    identifier = identity.text("id")
    if identifier not in ("QE", "TD_QE") or identity.number("version", _U16) != _VERSION:
        raise ValueError("another kind or version of QE identity")
    levels = tuple(isv_level(entry) for entry in identity.each("tcbLevels"))
    return QeIdentity(
        identifier=identifier,
        issued=identity.moment("issueDate"),
        next_update=identity.moment("nextUpdate"),
        evaluation=identity.number("tcbEvaluationDataNumber", _U32),
        misc_select=int.from_bytes(identity.octets("miscselect", 4), "little"),
        misc_select_mask=int.from_bytes(identity.octets("miscselectMask", 4), "little"),
        attributes=identity.octets("attributes", 16),
        attributes_mask=identity.octets("attributesMask", 16),
        mrsigner=identity.octets("mrsigner", 32),
        isv_prod_id=identity.number("isvprodid", _U16),
        levels=tuple(sorted(levels, key=lambda level: level.isv_svn, reverse=True)),
    )
