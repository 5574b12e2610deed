"""``wasmkeep evidence collect``: evidence of the confidential guest that this runs in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasmkeep.cli import flags

if TYPE_CHECKING:
    import argparse

    from wasmkeep.cli.console import Console

__all__ = ["Collected", "configure", "execute"]

_SEV_GUEST, _TSM = "sev-guest", "tsm"
_SNP_SIZE, _SNP_REPORT_DATA = 1184, 0x50  # SNP firmware ABI 56860, 7.3
_TDX_REPORT_DATA = {4: 568, 5: 574}  # by the quote's version: header 48, in version 5 a descriptor of 6, body


@dataclass(frozen=True, slots=True)
class Collected:
    """What the guest's kernel gave: `report` or quote, and beside it, where there are, certificates and a
    service's manifest. `provider` is the kernel's name for the format."""

    via: str
    provider: str
    report: bytes
    certificates: bytes
    manifest: bytes


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--report-data",
        type=_report_data,
        metavar="HEX",
        required=True,
        help="the 64 bytes to bind it to, such as a challenge and the hash of a key",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where the evidence goes")
    parser.add_argument(
        "--via", choices=(_SEV_GUEST, _TSM), help="which interface to ask; default: tsm where it is there"
    )
    parser.add_argument(
        "--vmpl", type=int, choices=range(4), metavar="0-3", help="SNP privilege level; default: the guest's"
    )
    service = parser.add_argument_group("a service below the guest (tsm)")
    service.add_argument("--service", metavar="NAME", help="ask this one instead, such as svsm")
    service.add_argument("--service-guid", metavar="GUID", help="one of its services; default: all")
    service.add_argument("--manifest-version", type=int, metavar="N", help="of the manifest it writes")
    service.add_argument("--manifest", metavar="FILE", help="where the manifest goes; needed with --service")
    parser.epilog = (
        "A report is followed by the certificates that its host gave. `wasmkeep evidence verify` judges it."
    )
    flags.add_output_flags(parser)


def _report_data(text: str) -> bytes:
    import argparse

    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 64:
        raise argparse.ArgumentTypeError("128 hexadecimal digits are needed")
    return value


def execute(options: argparse.Namespace, console: Console) -> int:  # noqa: ARG001 - answers go to stdout
    """Ask, check that the answer is bound to what was asked, and write it."""
    from wasmkeep.cli.console import answer

    _check(options)
    collected = _collect(options)
    checked = _check_binding(collected, options.report_data)
    _write(options.output, collected.report + collected.certificates)
    if options.manifest:
        _write(options.manifest, collected.manifest)
    if options.json:
        import json

        facts = {
            "file": options.output,
            "via": collected.via,
            "provider": collected.provider,
            "report_bytes": len(collected.report),
            "certificate_bytes": len(collected.certificates),
            "manifest": options.manifest,
            "bound": checked,
        }
        answer(json.dumps(facts))
    else:
        answer(_words(options.output, collected, checked=checked))
    return 0


def _words(path: str, collected: Collected, *, checked: bool) -> str:
    from wasmkeep.cli.text import escape

    with_them = f" and {len(collected.certificates)} of certificates" if collected.certificates else ""
    bound = "bound to the report data" if checked else "a format whose binding was not checked"
    line = f"{path}: {len(collected.report)} bytes of {collected.provider}{with_them}, {bound}"
    return escape(f"{line}, by {collected.via}")


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for flags that do not go together."""
    from wasmkeep.errors import UsageError

    service = [options.service_guid, options.manifest_version, options.manifest]
    if options.service is None and any(one is not None for one in service):
        raise UsageError("usage.service", "a manifest or GUID is a service's", required="--service NAME")
    if options.service is not None and options.via == _SEV_GUEST:
        raise UsageError("usage.service", "/dev/sev-guest asks no services", required="--via tsm")
    if options.service is not None and options.manifest is None:
        raise UsageError(
            "usage.service",
            "a service's report is bound to its manifest",
            required="--manifest FILE",
            meaning="without the manifest nobody can verify what the report is bound to",
        )


def _collect(options: argparse.Namespace) -> Collected:
    via = options.via or (_TSM if options.service is not None else _choose())
    return _by_tsm(options) if via == _TSM else _by_sev_guest(options)


def _choose() -> str:
    """Which interface is there. Raises PlatformUnavailable where none is."""
    from wasmkeep.errors import PlatformUnavailable
    from wasmkeep.hardware import diagnosis, surroundings
    from wasmkeep.hardware.devices import SEV_GUEST, TSM, DeviceState, survey

    found = survey((TSM, SEV_GUEST))
    for one, name in zip(found, (_TSM, _SEV_GUEST), strict=True):
        if one.state is DeviceState.PRESENT:
            return name
    around = surroundings.look()
    fixes = dict.fromkeys(lacks.fix for one in found if (lacks := diagnosis.missing(one, around)))
    raise PlatformUnavailable(
        "platform.guest",
        "this computer gives no evidence of itself",
        found=", ".join(str(one) for one in found),
        required="an SNP or TDX guest",
        remedy="\n".join(fixes),
    )


def _by_tsm(options: argparse.Namespace) -> Collected:
    from wasmkeep.hardware import tsm_report

    found = tsm_report.ask(
        tsm_report.TsmRequest(
            options.report_data,
            privilege_level=options.vmpl,
            service_provider=options.service or "",
            service_guid=options.service_guid or "",
            service_manifest_version=options.manifest_version,
        )
    )
    return Collected(_TSM, found.provider, found.report, found.auxiliary, found.manifest)


def _by_sev_guest(options: argparse.Namespace) -> Collected:
    from wasmkeep.hardware import surroundings
    from wasmkeep.hardware.snp_guest_device import open_snp_guest

    level = options.vmpl if options.vmpl is not None else surroundings.look().vmpl or 0
    with open_snp_guest() as device:
        report, certificates = device.extended_report(options.report_data, vmpl=level)
    return Collected(_SEV_GUEST, "sev_guest", report, certificates, b"")


def _check_binding(collected: Collected, report_data: bytes) -> bool:
    """Whether it could be checked. Raises SystemFailure where it is bound to something else."""
    from wasmkeep.errors import SystemFailure

    bound = _bound_to(collected)
    if bound is None:
        return False
    required = report_data
    if collected.manifest:  # AMD 58019, 7
        required = hashlib.sha512(report_data + collected.manifest).digest()
    if bound != required:
        raise SystemFailure(
            "platform.evidence.binding",
            "the evidence is bound to something else than was asked for",
            found=bound.hex(),
            required=required.hex(),
            meaning="somebody else's answer, or a host that answers what it likes",
        )
    return True


def _bound_to(collected: Collected) -> bytes | None:
    """REPORT_DATA of a report or quote; None for formats that are not known here."""
    offset = None
    if collected.provider == "sev_guest" and len(collected.report) == _SNP_SIZE:
        offset = _SNP_REPORT_DATA
    elif collected.provider == "tdx_guest":
        offset = _TDX_REPORT_DATA.get(int.from_bytes(collected.report[:2], "little"))
    return None if offset is None else collected.report[offset : offset + 64]


def _write(path: str, content: bytes) -> None:
    from pathlib import Path

    from wasmkeep.errors import OutputError
    from wasmkeep.whole_file import write_whole

    try:
        write_whole(Path(path), content)
    except (OSError, ValueError) as error:  # a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else "a name that is not one"
        raise OutputError("output.unwritable", f"cannot write {path}", found=reason or "?") from error
