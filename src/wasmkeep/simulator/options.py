"""The command line of ``python -m wasmkeep.simulator``."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from wasmkeep.errors import UsageError
from wasmkeep.evidence.roots import parse_pin
from wasmkeep.simulator.products import NO_SNP, PRODUCTS, Firmware, Product, SevVersion
from wasmkeep.simulator.secure_processor import Configuration

CPU_KINDS = ("auto", "kvm", "process")
_BYTE = 0xFF


@dataclass(frozen=True, slots=True)
class Options:
    machine: str
    state: Path
    socket: Path
    cpu: str
    revoke_ask: bool
    vlek: str | None  # the name of the cloud whose key is loaded
    configuration: Configuration


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wasmkeep.simulator",
        description="A simulated machine with an AMD secure processor. It protects nothing from its owner.",
        allow_abbrev=False,
    )
    parser.add_argument("--machine", default="default", help="which machine; each has a root of its own")
    parser.add_argument("--product", choices=PRODUCTS, default="genoa", help="processor generation")
    parser.add_argument("--cpu", choices=CPU_KINDS, default="auto", help="what runs guests")
    parser.add_argument("--socket", type=Path, required=True, help="where hosts connect")
    parser.add_argument("--state", type=Path, help="state folder instead of the user's own")
    firmware = parser.add_argument_group("firmware, for tests of verifiers")
    firmware.add_argument("--report-version", type=int, choices=(2, 3, 5), help="which firmware runs")
    for name in ("current", "committed", "reported"):
        firmware.add_argument(f"--{name}-tcb", metavar="HEX16", help="TCB_VERSION as a number")
    firmware.add_argument("--platform-info", metavar="HEX", help="PLATFORM_INFO of reports")
    firmware.add_argument("--slots", type=int, metavar="N", help="how many guests at once")
    firmware.add_argument("--min-sev-asid", type=int, metavar="N", help="first key slot for plain SEV guests")
    firmware.add_argument("--sev-firmware", metavar="A.B.C", help="SEV API version and build")
    firmware.add_argument(
        "--amd-root",
        action="append",
        metavar="sha256:HEX",
        help="another root for SEND_START",
    )
    firmware.add_argument("--mask-chip-id", action="store_true", help="reports without the chip's identity")
    firmware.add_argument("--mask-chip-key", action="store_true", help="reports without signature")
    firmware.add_argument("--vlek", metavar="CLOUD", help="load the key of a cloud of this name (CSP_ID)")
    firmware.add_argument("--revoke-ask", action="store_true", help="a revocation list that names the ASK")
    return parser


def parse(arguments: list[str]) -> Options:
    """Raises `UsageError`, or SystemExit as argparse does."""
    given = _parser().parse_args(arguments)
    product = PRODUCTS[given.product]
    return Options(
        machine=given.machine,
        state=given.state or Path(platformdirs.user_state_dir("wasmkeep", appauthor=False)),
        socket=given.socket,
        cpu=given.cpu,
        revoke_ask=given.revoke_ask,
        vlek=None if given.vlek is None else _csp_id(given.vlek),
        configuration=_configuration(given, product),
    )


def _configuration(given: argparse.Namespace, product: Product) -> Configuration:
    firmware = _snp_firmware(given, product)
    current = _tcb(product, "--current-tcb", given.current_tcb, product.tcb)
    committed = _tcb(product, "--committed-tcb", given.committed_tcb, current)
    reported = _tcb(product, "--reported-tcb", given.reported_tcb, committed)
    if not product.tcb_at_most(committed, current) or not product.tcb_at_most(reported, committed):
        raise UsageError(
            "simulator.tcb",
            "reported, committed and current TCB do not fit each other",
            found=f"{reported:016x}, {committed:016x}, {current:016x}",
            required="reported ≤ committed ≤ current, in each component",
        )
    info = firmware.platform_info
    if given.platform_info is not None:
        info = _hexadecimal("--platform-info", given.platform_info)
    slots, min_sev_asid = _key_slots(given, product)
    return Configuration(
        product=product,
        firmware=firmware,
        current_tcb=current,
        committed_tcb=committed,
        reported_tcb=reported,
        platform_info=info,
        slots=slots,
        mask_chip_id=given.mask_chip_id,
        mask_chip_key=given.mask_chip_key,
        min_sev_asid=min_sev_asid,
        sev=_sev_version(given.sev_firmware) if given.sev_firmware else product.sev,
        amd_roots=frozenset(_pin(text) for text in given.amd_root or ()),
    )


def _snp_firmware(given: argparse.Namespace, product: Product) -> Firmware:
    if product.has_snp:
        return product.firmware[given.report_version or product.default_report_version]
    options = ("report_version", "current_tcb", "committed_tcb", "reported_tcb", "platform_info", "vlek")
    switches = ("mask_chip_id", "mask_chip_key", "revoke_ask")
    asked = [name for name in options if getattr(given, name) is not None]
    asked += [name for name in switches if getattr(given, name)]
    if asked:
        raise UsageError(
            "simulator.product",
            f"a {product.kds} has no SNP",
            found="--" + asked[0].replace("_", "-"),
            required="options for SEV only",
        )
    return NO_SNP


def _key_slots(given: argparse.Namespace, product: Product) -> tuple[int, int]:
    """How many, and the first for plain SEV. Without --min-sev-asid, slots counted by --slots are none of
    SEV's.
    """
    slots = product.slots if given.slots is None else given.slots
    if not 1 <= slots <= product.slots:
        raise UsageError(
            "simulator.slots", "no machine has that many key slots", required=f"1 to {product.slots}"
        )
    first = given.min_sev_asid
    if first is None:
        first = product.min_sev_asid if given.slots is None else slots + 1
    if not 1 <= first <= slots + 1:
        raise UsageError(
            "simulator.slots",
            "plain SEV's key slots cannot begin there",
            found=str(first),
            required=f"1 to {slots + 1}",
        )
    return slots, first


def _sev_version(text: str) -> SevVersion:
    match = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})", text, re.ASCII)
    numbers = [int(part) for part in match.groups()] if match else []
    if not numbers or max(numbers) > _BYTE:
        raise UsageError(
            "simulator.number",
            "--sev-firmware is not a version",
            found=text,
            required="A.B.C, up to 255",
        )
    return SevVersion(*numbers)


def _csp_id(text: str) -> str:
    if not re.fullmatch(r"[ -~]{1,64}", text):
        raise UsageError(
            "simulator.vlek", "no cloud is named so", found=repr(text), required="1 to 64 printable ASCII"
        )
    return text


def _pin(text: str) -> bytes:
    try:
        return parse_pin(text)
    except ValueError as error:
        raise UsageError(
            "simulator.root", "--amd-root is no root", found=text, required=str(error)
        ) from error


def _tcb(product: Product, flag: str, text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    value = _hexadecimal(flag, text)
    if not product.tcb_valid(value):
        raise UsageError(
            "simulator.tcb", f"{flag} sets reserved bytes", found=text, required=f"a TCB of {product.kds}"
        )
    return value


def _hexadecimal(flag: str, text: str) -> int:
    try:
        value = int(text, 16)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise UsageError(
            "simulator.number", f"{flag} is not a number", found=text, required="hexadecimal, u64"
        )
    return value
