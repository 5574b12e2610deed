"""Processor generations that the machine can be: identity, TCB layout, firmware (SEV.md C.4–C.6, C.11).

Default TCBs and firmware versions are those of genuine reports of each generation. Naples and Rome have SEV
and SEV-ES, and no SNP: their fields for SNP are empty, and the serial numbers of their X.509 certificates are
this machine's own, because AMD issued none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Components in the order of AMD's key distribution service; value = byte of TCB_VERSION (SNP ABI 2.2, table
# 3).
_FAMILY_19 = {"blSPL": 0, "teeSPL": 1, "snpSPL": 6, "ucodeSPL": 7}
_FAMILY_1A = {"fmcSPL": 0, "blSPL": 1, "teeSPL": 2, "snpSPL": 3, "ucodeSPL": 7}

# Certificate extensions 1.3.6.1.4.1.3704.1.3.x in the order AMD writes them; value = byte of TCB_VERSION.
_SPL_19 = ((1, 0), (2, 1), (4, 2), (5, 3), (6, 4), (7, 5), (3, 6), (8, 7))
_SPL_1A = ((9, 0), (1, 1), (2, 2), (3, 3), (5, 4), (6, 5), (7, 6), (8, 7))


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware version and what it can do: `policy_bits` are the guest policy bits it knows above 15."""

    major: int
    minor: int
    build: int
    report_version: int
    platform_info: int
    policy_bits: int


@dataclass(frozen=True, slots=True)
class SevVersion:
    """The firmware's SEV API version and build, as PLATFORM_STATUS and the launch measurement say it."""

    major: int
    minor: int
    build: int

    @property
    def api(self) -> tuple[int, int]:
        return self.major, self.minor


_POLICY_V2 = 0b0000_0001_1111  # SMT, one, MIGRATE_MA, DEBUG, SINGLE_SOCKET
_POLICY_V3 = 0b0001_1111_1111  # … CXL, MEM_AES_256_XTS, RAPL_DIS, CIPHERTEXT_HIDING
_POLICY_V5 = 0b0011_1111_1111  # … PAGE_SWAP_DISABLE


@dataclass(frozen=True, slots=True)
class Product:
    """`name` as on the command line, `kds` as in AMD's URLs, `extension` as in the VCEK's productName."""

    name: str
    kds: str
    extension: str
    family: int
    model: int
    stepping: int
    serial_base: int  # of the ARK
    ask_serial: int
    revoked: tuple[int, ...]  # serials that AMD's own list names
    chip_id_size: int  # significant bytes
    struct_version: int
    components: Mapping[str, int]
    spl_extensions: tuple[tuple[int, int], ...]
    tcb: int
    mitigations: int
    firmware: Mapping[int, Firmware]  # by report version
    default_report_version: int
    sev: SevVersion
    rsa_bits: int = 4096  # of ARK and ASK
    slots: int = 509
    min_sev_asid: int = 410  # below it: SEV-ES and SNP

    @property
    def asvk_serial(self) -> int:
        """Of the authority that signs clouds' keys."""
        return self.serial_base + 0x101

    @property
    def has_snp(self) -> bool:
        return bool(self.firmware)

    @property
    def fms(self) -> int:
        """CPUID leaf 1 EAX: extended family and model, family, model, stepping."""
        extended = self.family - 0xF
        return extended << 20 | self.model >> 4 << 16 | 0xF << 8 | (self.model & 0xF) << 4 | self.stepping

    def tcb_components(self, tcb: int) -> dict[str, int]:
        """`tcb` by component, in the key distribution service's order."""
        raw = tcb.to_bytes(8, "little")
        return {name: raw[index] for name, index in self.components.items()}

    def tcb_file_name(self, tcb: int) -> str:
        """``blSPL=10,teeSPL=0,….der``: the key distribution service's query as a file's name."""
        return ",".join(f"{name}={value}" for name, value in self.tcb_components(tcb).items()) + ".der"

    def tcb_valid(self, tcb: int) -> bool:
        """Whether the reserved bytes are zero."""
        used = set(self.components.values())
        return all(byte == 0 for index, byte in enumerate(tcb.to_bytes(8, "little")) if index not in used)

    def tcb_at_most(self, tcb: int, limit: int) -> bool:
        """Compare component by component: a TCB is not one number."""
        pairs = zip(tcb.to_bytes(8, "little"), limit.to_bytes(8, "little"), strict=True)
        return self.tcb_valid(tcb) and all(have <= most for have, most in pairs)


NO_SNP = Firmware(0, 0, 0, report_version=0, platform_info=0, policy_bits=0)


def _firmware(v2: int, v3: int, v5: int) -> dict[int, Firmware]:
    return {
        2: Firmware(1, 52, v2, 2, 0x01, _POLICY_V2),
        3: Firmware(1, 55, v3, 3, 0x25, _POLICY_V3),
        5: Firmware(1, 55, v5, 5, 0x25, _POLICY_V5),
    }


def _without_snp(
    *, name: str, kds: str, model: int, stepping: int, serial_base: int, sev: SevVersion, **size: int
) -> Product:
    """A processor of family 17h."""
    return Product(
        name=name,
        kds=kds,
        extension="",
        family=0x17,
        model=model,
        stepping=stepping,
        serial_base=serial_base,
        ask_serial=serial_base + 1,
        revoked=(),
        chip_id_size=64,
        struct_version=0,
        components={},
        spl_extensions=(),
        tcb=0,
        mitigations=0,
        firmware={},
        default_report_version=0,
        sev=sev,
        **size,
    )


PRODUCTS: Mapping[str, Product] = {
    "naples": _without_snp(
        name="naples",
        kds="Naples",
        model=0x01,
        stepping=2,
        serial_base=0x1,
        sev=SevVersion(0, 24, 15),
        rsa_bits=2048,
        slots=15,
        min_sev_asid=8,
    ),
    "rome": _without_snp(
        name="rome", kds="Rome", model=0x31, stepping=0, serial_base=0x11, sev=SevVersion(0, 24, 20)
    ),
    "milan": Product(
        name="milan",
        kds="Milan",
        extension="Milan-B0",
        family=0x19,
        model=0x01,
        stepping=1,
        serial_base=0x10000,
        ask_serial=0x10001,
        revoked=(),
        chip_id_size=64,
        struct_version=0,
        components=_FAMILY_19,
        spl_extensions=_SPL_19,
        tcb=int.from_bytes(bytes.fromhex("04000000000018db"), "little"),
        mitigations=0x0B,
        firmware=_firmware(4, 29, 40),
        default_report_version=3,
        sev=SevVersion(1, 55, 21),
    ),
    "genoa": Product(
        name="genoa",
        kds="Genoa",
        extension="Genoa",
        family=0x19,
        model=0x11,
        stepping=1,
        serial_base=0x20000,
        ask_serial=0x20002,
        revoked=(0x20001,),
        chip_id_size=64,
        struct_version=0,
        components=_FAMILY_19,
        spl_extensions=_SPL_19,
        tcb=int.from_bytes(bytes.fromhex("0a00000000001754"), "little"),
        mitigations=0x0B,
        firmware=_firmware(4, 40, 49),
        default_report_version=3,
        sev=SevVersion(1, 55, 40),
    ),
    "turin": Product(
        name="turin",
        kds="Turin",
        extension="Turin",
        family=0x1A,
        model=0x02,
        stepping=1,
        serial_base=0x30000,
        ask_serial=0x30001,
        revoked=(),
        chip_id_size=8,
        struct_version=1,
        components=_FAMILY_1A,
        spl_extensions=_SPL_1A,
        tcb=int.from_bytes(bytes.fromhex("0101010400000051"), "little"),
        mitigations=0x3F,
        firmware=_firmware(4, 40, 54),
        default_report_version=5,
        sev=SevVersion(1, 55, 54),
    ),
}
