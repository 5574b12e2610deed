"""TCB level selection as Intel's verifier does it: the platform's, its TDX module's, its quoting enclave's.

Intel TDX DCAP quote verification library, 4.1.2.4.17; PCS API v4, "Get TCB Info", enhanced status logic.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.dcap.pck import PckIdentity
from wasmkeep.evidence.dcap.qe_identity import QeIdentity
from wasmkeep.evidence.dcap.status import Status, converge
from wasmkeep.evidence.dcap.tcb_info import IsvLevel, ModuleIdentity, TcbInfo, TcbLevel
from wasmkeep.evidence.tdx.report import TdReport

__all__ = [
    "Levels",
    "TcbVerdict",
    "converged",
    "isv_level_of",
    "module_identity_of",
    "module_level",
    "platform_level",
    "reached",
]

_GOOD = (
    Status.UpToDate,
    Status.SWHardeningNeeded,
    Status.ConfigurationNeeded,
    Status.ConfigurationAndSWHardeningNeeded,
)
_MODULE_SVN, _MODULE_VERSION, _MICROCODE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class TcbVerdict:
    """Levels reached. ``module`` is None for SGX and for TDX modules without an identity of their own.
    ``status`` and ``advisories`` are of all together."""

    platform: TcbLevel
    module: IsvLevel | None
    quoting_enclave: IsvLevel
    status: Status
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """What each part reaches by itself; None where it is below every level, and so has no status at all.
    ``module_counts`` says that the TDX module is judged by an identity of its own; ``current`` is False where
    the module that runs now (TEE_TCB_SVN2) reaches no level."""

    platform: TcbLevel | None
    quoting_enclave: IsvLevel | None
    module: IsvLevel | None = None
    module_counts: bool = False
    current: bool = True


def reached(
    pck: PckIdentity, info: TcbInfo, identity: QeIdentity, qe_svn: int, report: TdReport | None
) -> Levels:
    """The levels of a platform, of its quoting enclave, and of its TDX module where there is a TD report."""
    platform = platform_level(pck, info, report.tee_tcb_svn if report else None)
    quoting_enclave = isv_level_of(identity.levels, qe_svn)
    if report is None:
        return Levels(platform, quoting_enclave)
    return Levels(
        platform,
        quoting_enclave,
        module_level(info, report.tee_tcb_svn),
        bool(report.tee_tcb_svn[_MODULE_VERSION]),
        report.tee_tcb_svn2 is None or _has_level(pck, info, report.tee_tcb_svn2),
    )


def converged(levels: Levels, pck: PckIdentity, info: TcbInfo, report: TdReport | None) -> TcbVerdict | None:
    """One status out of all; None where a part has none."""
    platform, module, quoting_enclave = levels.platform, levels.module, levels.quoting_enclave
    if platform is None or quoting_enclave is None or (levels.module_counts and module is None):
        return None
    status, advisories = _with_module(platform, module), [*platform.advisories]
    if module is not None:
        advisories += module.advisories
    if report is not None and report.tee_tcb_svn2 is not None:
        now = _status_now(pck, info, report.tee_tcb_svn2)
        status = _relaunched(status, now, quoting_enclave.status)
    status = converge(status, quoting_enclave.status)
    unique = dict.fromkeys((*advisories, *quoting_enclave.advisories))
    return TcbVerdict(platform, module, quoting_enclave, status, tuple(unique))


def platform_level(pck: PckIdentity, info: TcbInfo, tee_tcb_svn: bytes | None) -> TcbLevel | None:
    """The highest level that the platform reaches, in every component; ``tee_tcb_svn`` is a TD report's."""
    return next(
        (
            level
            for level in info.levels
            if _reaches(pck, level) and (tee_tcb_svn is None or _module_reaches(tee_tcb_svn, level))
        ),
        None,
    )


def module_level(info: TcbInfo, tee_tcb_svn: bytes) -> IsvLevel | None:
    """The level of a TDX module; None without levels of its own, or below all of them."""
    identity = module_identity_of(info, tee_tcb_svn)
    return isv_level_of(identity.levels, tee_tcb_svn[_MODULE_SVN]) if identity else None


def isv_level_of(levels: tuple[IsvLevel, ...], svn: int) -> IsvLevel | None:
    """The highest level that an SVN reaches."""
    return next((level for level in levels if svn >= level.isv_svn), None)


def module_identity_of(info: TcbInfo, tee_tcb_svn: bytes) -> ModuleIdentity | None:
    """The identity that the TDX module must have: by its major version; that of the first kind for 0."""
    version = tee_tcb_svn[_MODULE_VERSION]
    if version == 0:
        return info.module
    wanted = f"TDX_{version:02X}"
    return next((identity for identity in info.module_identities if identity.identifier == wanted), None)


def _has_level(pck: PckIdentity, info: TcbInfo, tee_tcb_svn: bytes) -> bool:
    if platform_level(pck, info, tee_tcb_svn) is None:
        return False
    return not tee_tcb_svn[_MODULE_VERSION] or module_level(info, tee_tcb_svn) is not None


def _reaches(pck: PckIdentity, level: TcbLevel) -> bool:
    components = zip(pck.components, level.sgx, strict=True)
    return pck.pce_svn >= level.pce_svn and all(have >= need for have, need in components)


def _module_reaches(tee_tcb_svn: bytes, level: TcbLevel) -> bool:
    """Modules with an identity of their own are judged by that, and here only by what follows the module."""
    first = _MICROCODE if tee_tcb_svn[_MODULE_VERSION] else 0
    return all(have >= need for have, need in zip(tee_tcb_svn[first:], level.tdx[first:], strict=True))


def _with_module(platform: TcbLevel, module: IsvLevel | None) -> Status:
    return platform.status if module is None else converge(platform.status, module.status)


def _status_now(pck: PckIdentity, info: TcbInfo, tee_tcb_svn2: bytes) -> Status | None:
    """The status with the TDX module that runs now, None where it has none."""
    platform = platform_level(pck, info, tee_tcb_svn2)
    return None if platform is None else _with_module(platform, module_level(info, tee_tcb_svn2))


def _relaunched(launched: Status, now: Status | None, quoting_enclave: Status) -> Status:
    """What is out of date may be so since the TD was launched only: if what runs now is good, a new launch
    mends it. What runs now and is revoked is revoked for the TD too."""
    if now is Status.Revoked:
        return now
    if not launched.is_out_of_date or now not in _GOOD or quoting_enclave is not Status.UpToDate:
        return launched
    if launched.needs_configuration or now.needs_configuration:
        return Status.TDRelaunchAdvisedConfigurationNeeded
    return Status.TDRelaunchAdvised
