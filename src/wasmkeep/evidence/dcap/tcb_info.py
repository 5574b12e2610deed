"""Intel's TCB info (PCS API v4, version 3): which SVNs a platform of one kind needs for which status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wasmkeep.evidence.dcap.findings import malformed
from wasmkeep.evidence.dcap.status import Status
from wasmkeep.evidence.dcap.strict_json import Members, decode

__all__ = ["IsvLevel", "ModuleIdentity", "TcbInfo", "TcbLevel", "isv_level", "read_tcb_info"]

_SECTION = "Intel PCS API v4, Get TCB Info"
_VERSION = 3
_COMPONENTS = 16
_U8, _U16, _U32 = 0xFF, 0xFFFF, 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """SVNs that a platform must reach, all of them: ``sgx`` and ``tdx`` 16 components, ``pce_svn``. ``tdx``
    is empty in TCB infos of SGX."""

    sgx: bytes
    tdx: bytes
    pce_svn: int
    date: datetime
    status: Status
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsvLevel:
    """A level of an enclave's or TDX module's own SVN."""

    isv_svn: int
    date: datetime
    status: Status
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """A TDX module: ``mrsigner`` 48 bytes, ``attributes`` and ``attributes_mask`` 8. ``identifier`` is
    ``TDX_`` and the module's major version, empty for the first kind (which has no levels of its own)."""

    identifier: str
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[IsvLevel, ...] = ()


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """``levels`` is sorted as Intel's verifier tries them: highest SVNs first."""

    identifier: str
    issued: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation: int
    levels: tuple[TcbLevel, ...]
    module: ModuleIdentity | None
    module_identities: tuple[ModuleIdentity, ...]


def read_tcb_info(text: str) -> TcbInfo:
    """Read the signed text. Raises `Rejected` ``dcap.collateral.tcb-info``."""
    try:
        return _tcb_info(decode(text, "TCB info"))
    except ValueError as error:
        message = "the TCB info cannot be read"
        raise malformed(
            "dcap.collateral.tcb-info", message, str(error)[:200], "version 3", _SECTION
        ) from error


def _tcb_info(info: Members) -> TcbInfo:
    identifier = info.text("id")
    if identifier not in ("SGX", "TDX") or info.number("version", _U8) != _VERSION:
        raise ValueError("another kind or version of TCB info")
    if info.number("tcbType", _U32) != 0:
        raise ValueError("another type of TCB components")
    is_tdx = identifier == "TDX"
    levels = [_level(entry, is_tdx) for entry in info.each("tcbLevels")]
    levels.sort(key=lambda level: (level.sgx, level.pce_svn, level.tdx), reverse=True)
    identities = info.each("tdxModuleIdentities") if "tdxModuleIdentities" in info else []
    return TcbInfo(
        identifier=identifier,
        issued=info.moment("issueDate"),
        next_update=info.moment("nextUpdate"),
        fmspc=info.octets("fmspc", 6),
        pce_id=info.octets("pceId", 2),
        evaluation=info.number("tcbEvaluationDataNumber", _U32),
        levels=tuple(levels),
        module=_module(info.members("tdxModule"), "", ()) if is_tdx else None,
        module_identities=tuple(_module_identity(entry) for entry in identities),
    )


def _level(entry: Members, is_tdx: bool) -> TcbLevel:  # noqa: FBT001
    tcb = entry.members("tcb")
    return TcbLevel(
        sgx=_components(tcb, "sgxtcbcomponents"),
        tdx=_components(tcb, "tdxtcbcomponents") if is_tdx else b"",
        pce_svn=tcb.number("pcesvn", _U16),
        date=entry.moment("tcbDate"),
        status=_status(entry),
        advisories=entry.texts("advisoryIDs"),
    )


def _components(tcb: Members, key: str) -> bytes:
    components = tcb.each(key)
    if len(components) != _COMPONENTS:
        raise ValueError(f"{key} has {len(components)} entries, not {_COMPONENTS}")
    return bytes(component.number("svn", _U8) for component in components)


def _module_identity(entry: Members) -> ModuleIdentity:
    levels = tuple(isv_level(level) for level in entry.each("tcbLevels"))
    return _module(entry, entry.text("id").upper(), levels)


def _module(entry: Members, identifier: str, levels: tuple[IsvLevel, ...]) -> ModuleIdentity:
    return ModuleIdentity(
        identifier,
        entry.octets("mrsigner", 48),
        entry.octets("attributes", 8),
        entry.octets("attributesMask", 8),
        tuple(sorted(levels, key=lambda level: level.isv_svn, reverse=True)),
    )


def isv_level(entry: Members) -> IsvLevel:
    """One level of an enclave or module; raises ``ValueError``."""
    return IsvLevel(
        entry.members("tcb").number("isvsvn", _U16),
        entry.moment("tcbDate"),
        _status(entry),
        entry.texts("advisoryIDs"),
    )


def _status(entry: Members) -> Status:
    text = entry.text("tcbStatus")
    if text not in Status.__members__.values() or text.startswith("TDRelaunch"):
        raise ValueError(f"an unknown status {text[:40]}")
    return Status(text)
