"""What this computer has for confidential computing, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.hardware import diagnosis, sev_host, surroundings, tsm_report
from wasmkeep.hardware.devices import SEV, TSM, DeviceFound, DeviceState, survey
from wasmkeep.hardware.diagnosis import Missing
from wasmkeep.hardware.psp_sev import SnpPlatformStatus
from wasmkeep.hardware.psp_sev_calls import SevPlatformStatus
from wasmkeep.hardware.sev_host import HostStatus
from wasmkeep.hardware.tsm_report import TsmProvider

__all__ = ["Here", "as_json", "as_text", "look_here"]


@dataclass(frozen=True, slots=True)
class Here:
    """`devices` in order, each with what it lacks. `host` where ``/dev/sev`` can be asked, `snp_lacks` where
    SNP is not on there; `provider` where configfs tsm can be asked, `provider_refused` where nobody answers.
    """

    devices: tuple[tuple[DeviceFound, Missing | None], ...]
    host: HostStatus | None = None
    snp_lacks: Missing | None = None
    provider: TsmProvider | None = None
    provider_refused: str = ""


def look_here() -> Here:
    """Look for each device, and ask those that may be asked for their state."""
    around = surroundings.look()
    found = survey()
    present = {one.device for one in found if one.state is DeviceState.PRESENT}
    host = _host() if SEV in present else None
    on = host is not None and host.snp is not None and host.snp.initialized
    provider, refused = _provider() if TSM in present else (None, "")
    return Here(
        tuple((one, diagnosis.missing(one, around)) for one in found),
        host,
        diagnosis.snp_missing(around) if host is not None and not on else None,
        provider,
        refused,
    )


def _host() -> HostStatus | None:
    try:
        return sev_host.read_host_status()
    except PlatformUnavailable:  # gone since, or unusable
        return None


def _provider() -> tuple[TsmProvider | None, str]:
    try:
        return tsm_report.provider(), ""
    except (PlatformUnavailable, SystemFailure) as refused:
        return None, f"{refused.message}; {refused.remedy}" if refused.remedy else refused.message


def as_json(here: Here) -> dict[str, object]:
    """The same facts for machines."""
    rows = [
        {
            "device": one.device.path,
            "state": one.state.value,
            "purpose": one.device.purpose,
            "needs": one.device.needs,
            "missing": _plain(lacks),
        }
        for one, lacks in here.devices
    ]
    document: dict[str, object] = {"devices": rows, "usable": False, "simulated": True}
    if here.host is not None:
        document["sev"] = _status(here.host.sev, here.host.sev_refused)
        document["snp"] = _status(here.host.snp, here.host.snp_refused) | {"missing": _plain(here.snp_lacks)}
    if here.provider is not None or here.provider_refused:
        document["tsm"] = {
            "provider": here.provider.name if here.provider else None,
            "privilege_floor": here.provider.privilege_floor if here.provider else None,
            "refused": here.provider_refused,
        }
    return document


def _plain(lacks: Missing | None) -> dict[str, str] | None:
    return None if lacks is None else {"kind": lacks.kind.value, "why": lacks.why, "fix": lacks.fix}


def _status(status: SevPlatformStatus | SnpPlatformStatus | None, refused: str) -> dict[str, object]:
    return {"refused": refused} if status is None else asdict(status)


def as_text(here: Here) -> str:
    """For people."""
    lines = ["devices of this computer"]
    for one, lacks in here.devices:
        lines.append(f"  {one.device.name:<18}{one.state.value:<16}{one.device.purpose}")
        if lacks is not None:
            lines += _advice(lacks)
    if here.host is not None:
        lines += ["", "SEV on this host", *_host_lines(here.host)]
        if here.snp_lacks is not None:
            lines += _advice(here.snp_lacks)
    if here.provider is not None or here.provider_refused:
        lines += ["", "evidence of this guest", f"  {_provider_line(here)}"]
    lines += ["", "no TEE that this release can launch keeps on; `--simulated` starts a simulated machine"]
    return "\n".join(lines)


def _advice(lacks: Missing) -> tuple[str, str]:
    return f"  {'':<18}{lacks.kind.value:<16}{lacks.why}", f"  {'':<34}fix: {lacks.fix}"


def _host_lines(host: HostStatus) -> Iterator[str]:
    sev, snp = host.sev, host.snp
    if sev is None:
        yield f"  {'SEV':<18}refused         {host.sev_refused}"
    else:
        owner = "owned externally" if sev.owned else "owned by itself"
        es = "SEV-ES on" if sev.es else "SEV-ES off"
        yield (
            f"  {'SEV':<18}{sev.state.name.lower():<16}"
            f"API {sev.api_major}.{sev.api_minor}, build {sev.build}, {owner}, {es}, {sev.guest_count} guests"
        )
    if snp is None:
        yield f"  {'SEV-SNP':<18}refused         {host.snp_refused}"
        return
    yield (
        f"  {'SEV-SNP':<18}{'init' if snp.initialized else 'uninit':<16}"
        f"API {snp.api_major}.{snp.api_minor}, build {snp.build}, {snp.guest_count} guests"
    )
    yield f"  {'':<34}TCB current {snp.current_tcb:016x}, reported {snp.reported_tcb:016x}"
    marks = {
        "the RMP is not initialised": not snp.rmp_initialized,
        "a VLEK is loaded": snp.vlek_loaded,
        "the chip id is masked": snp.mask_chip_id,
        "the chip key is masked: reports are not signed by it": snp.mask_chip_key,
        "RAPL is off": snp.rapl_disabled,
        "ciphertext hiding is on": snp.ciphertext_hiding,
    }
    for words in (words for words, on in marks.items() if on):
        yield f"  {'':<34}{words}"


def _provider_line(here: Here) -> str:
    if here.provider is None:
        return f"{'configfs tsm':<18}{'no answer':<16}{here.provider_refused}"
    floor = here.provider.privilege_floor
    levels = "" if floor is None else f", privilege levels {floor} to {tsm_report.PRIVILEGE_LEVEL_MAX}"
    return f"{'configfs tsm':<18}{here.provider.name:<16}`wasmkeep evidence collect` asks it{levels}"
