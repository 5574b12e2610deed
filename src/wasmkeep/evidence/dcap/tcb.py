"""TCB level selection as Intel's verifier does it: the platform's, its TDX module's, its quoting enclave's.

Intel TDX DCAP quote verification library, 4.1.2.4.17; PCS API v4, "Get TCB Info", enhanced status logic.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmkeep.evidence.dcap.pck import PckIdentity
from wasmkeep.evidence.dcap.status import Status, converge
from wasmkeep.evidence.dcap.tcb_info import IsvLevel, ModuleIdentity, TcbInfo, TcbLevel
from wasmkeep.evidence.tdx.report import TdReport

__all__ = ["TcbVerdict", "evaluate", "isv_level_of", "module_identity_of", "module_level", "platform_level"]

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


def evaluate(
    pck: PckIdentity, info: TcbInfo, quoting_enclave: IsvLevel, report: TdReport | None
) -> TcbVerdict | None:
    """What the platform reaches, with its TDX module where there is a TD ``report``; None where it is below
    every level, and so has no status at all."""
    platform = platform_level(pck, info, report)
    if platform is None:
        return None
    status, module = platform.status, None
    if report is not None and report.tee_tcb_svn[_MODULE_VERSION]:
        module = module_level(info, report)
        if module is None:
            return None
        status = converge(status, module.status)
        sgx = next(level.status for level in info.levels if _reaches(pck, level))
        if _relaunch_helps(info, report, sgx, status, module, quoting_enclave):
            status = _relaunch(sgx, status)
    status = converge(status, quoting_enclave.status)
    advisories = (*platform.advisories, *(module.advisories if module else ()), *quoting_enclave.advisories)
    return TcbVerdict(platform, module, quoting_enclave, status, tuple(dict.fromkeys(advisories)))


def platform_level(pck: PckIdentity, info: TcbInfo, report: TdReport | None) -> TcbLevel | None:
    """The highest level that the platform reaches, in every component."""
    return next(
        (
            level
            for level in info.levels
            if _reaches(pck, level) and (report is None or _module_reaches(report.tee_tcb_svn, level))
        ),
        None,
    )


def module_level(info: TcbInfo, report: TdReport) -> IsvLevel | None:
    """The level of the TDX module that launched the TD; None without an identity, or below all its levels."""
    identity = module_identity_of(info, report.tee_tcb_svn)
    return isv_level_of(identity.levels, report.tee_tcb_svn[_MODULE_SVN]) if identity else None


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


def _reaches(pck: PckIdentity, level: TcbLevel) -> bool:
    components = zip(pck.components, level.sgx, strict=True)
    return pck.pce_svn >= level.pce_svn and all(have >= need for have, need in components)


def _module_reaches(tee_tcb_svn: bytes, level: TcbLevel) -> bool:
    """Modules with an identity of their own are judged by that, and here only by what follows the module."""
    first = _MICROCODE if tee_tcb_svn[_MODULE_VERSION] else 0
    return all(have >= need for have, need in zip(tee_tcb_svn[first:], level.tdx[first:], strict=True))


def _relaunch_helps(
    info: TcbInfo,
    report: TdReport,
    sgx: Status,
    tdx: Status,
    module: IsvLevel,
    quoting_enclave: IsvLevel,
) -> bool:
    """Only the TDX module that launched the TD is old, and the one that runs now is the newest."""
    if report.tee_tcb_svn2 is None or sgx not in _GOOD or quoting_enclave.status is not Status.UpToDate:
        return False
    if not tdx.is_out_of_date or module.status is not Status.OutOfDate:
        return False
    now, newest = report.tee_tcb_svn2, info.levels[0]
    identity = module_identity_of(info, now)
    if identity is None or now[_MICROCODE] < newest.tdx[_MICROCODE]:
        return False
    if now[_MODULE_VERSION] == 0:
        return now[_MODULE_SVN] >= newest.tdx[_MODULE_SVN]
    return bool(identity.levels) and now[_MODULE_SVN] >= identity.levels[0].isv_svn


def _relaunch(sgx: Status, tdx: Status) -> Status:
    if sgx.needs_configuration or tdx.needs_configuration:
        return Status.TDRelaunchAdvisedConfigurationNeeded
    return Status.TDRelaunchAdvised
