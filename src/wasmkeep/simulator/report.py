"""Attestation reports, 1184 bytes, of versions 2, 3 and 5 (SNP firmware ABI 7.3; SEV.md C.4).

Little-endian; bytes 000h–29Fh are signed with the VCEK or VLEK: ECDSA P-384 over SHA-384, r and s
little-endian in 72 bytes each. A masked chip key leaves the report that a VCEK would sign unsigned:
SIGNING_KEY 7 and zeros.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from wasmkeep.simulator.guest import GuestContext
from wasmkeep.simulator.products import Firmware, Product
from wasmkeep.simulator.vlek import Hashstick

REPORT_SIZE = 1184
SIGNED_SIZE = 0x2A0
_COMPONENT = 72
_SIGNATURE_ALGORITHM = 1
SIGNING_KEY_VCEK, SIGNING_KEY_VLEK, SIGNING_KEY_NONE = 0, 1, 7
_NO_MIGRATION_AGENT = b"\xff" * 32
_WITH_CPUID, _WITH_MITIGATIONS = 3, 5  # from which report version on


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What a report says of the platform at the moment it is made."""

    product: Product
    firmware: Firmware
    chip_id: bytes  # zeros when masked
    platform_info: int
    current_tcb: int
    committed_tcb: int
    reported_tcb: int
    mask_chip_key: bool
    vlek: Hashstick | None  # a cloud's key, where one is loaded


def _version_bytes(firmware: Firmware) -> bytes:
    return bytes((firmware.build, firmware.minor, firmware.major, 0))


def compose(
    platform: PlatformFacts, guest: GuestContext, report_data: bytes, vmpl: int, signing_key: int
) -> bytes:
    """The signed part of a report, 672 bytes, of a report that says it is signed with `signing_key`."""
    report = bytearray(SIGNED_SIZE)
    identity = guest.id_block
    version = platform.firmware.report_version
    key_info = identity.author_key_en | platform.mask_chip_key << 1 | signing_key << 2
    struct.pack_into("<IIQ", report, 0x000, version, identity.guest_svn, guest.policy)
    report[0x010:0x020] = identity.family_id
    report[0x020:0x030] = identity.image_id
    struct.pack_into("<II", report, 0x030, vmpl, _SIGNATURE_ALGORITHM)
    struct.pack_into("<QQI", report, 0x038, platform.current_tcb, platform.platform_info, key_info)
    report[0x050:0x090] = report_data
    report[0x090:0x0C0] = guest.launch_digest
    report[0x0C0:0x0E0] = guest.host_data
    report[0x0E0:0x110] = identity.id_key_digest
    report[0x110:0x140] = identity.author_key_digest
    report[0x140:0x160] = guest.report_id
    report[0x160:0x180] = _NO_MIGRATION_AGENT
    struct.pack_into("<Q", report, 0x180, platform.reported_tcb)
    if version >= _WITH_CPUID:
        product = platform.product
        report[0x188:0x18B] = bytes((product.family, product.model, product.stepping))
    report[0x1A0:0x1E0] = platform.chip_id
    struct.pack_into("<Q", report, 0x1E0, platform.committed_tcb)
    report[0x1E8:0x1EC] = report[0x1EC:0x1F0] = _version_bytes(platform.firmware)
    struct.pack_into("<Q", report, 0x1F0, guest.launch_tcb)
    if version >= _WITH_MITIGATIONS:
        struct.pack_into("<QQ", report, 0x1F8, platform.product.mitigations, platform.product.mitigations)
    return bytes(report)


def sign(body: bytes, key: ec.EllipticCurvePrivateKey | None) -> bytes:
    """The whole report; unsigned when `key` is None."""
    if key is None:
        return body.ljust(REPORT_SIZE, b"\0")
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA384())))
    signature = r.to_bytes(_COMPONENT, "little") + s.to_bytes(_COMPONENT, "little")
    return (body + signature).ljust(REPORT_SIZE, b"\0")
