"""A secure processor on the bench: no sockets, no CPU, guest memory as a table; and a guest's end of its
channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.kvm_snp import SnpPageType
from wasmkeep.hardware.snp_messages import (
    HEADER_SIZE,
    TAG_SIZE,
    MessageHeader,
    MessageType,
    ReportRequest,
    ReportResponse,
    SecretsPage,
    additional_data,
    header_for,
    initialisation_vector,
)
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.guest import GuestContext
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.secure_processor import Configuration, SecureProcessor

MEMORY = 8 << 20
WINDOW = 0x20_0000
WINDOW_SIZE = 1 << 20
REQUEST, RESPONSE = WINDOW + 0x2000, WINDOW + 0x3000
CODE, SECRETS = 0x10_0000, 0x1_3000
POLICY = 0x3_0000
VMSA = b"\x5a" * PAGE


class TableMemory:
    """Pages by number; the same rules for what is shared as the machine's."""

    size = MEMORY

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}

    def read(self, gpa: int, size: int) -> bytes:
        assert gpa % PAGE == 0
        assert size == PAGE
        return self.pages.get(gpa // PAGE, bytes(PAGE))

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        for offset in range(0, len(data), PAGE):
            self.pages[(gpa + offset) // PAGE] = bytes(data[offset : offset + PAGE])

    def zero(self, gpa: int, size: int) -> None:
        pass

    def is_shared(self, gpa: int, size: int) -> bool:
        return gpa + size > WINDOW and gpa < WINDOW + WINDOW_SIZE


def configuration(
    product: str = "genoa", report_version: int | None = None, **changes: object
) -> Configuration:
    facts = PRODUCTS[product]
    firmware = facts.firmware[report_version or facts.default_report_version]
    plain = Configuration(
        product=facts,
        firmware=firmware,
        current_tcb=facts.tcb,
        committed_tcb=facts.tcb,
        reported_tcb=facts.tcb,
        platform_info=firmware.platform_info,
        slots=facts.slots,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@dataclass
class Bench:
    """A processor with the chip it is fused into, and the TCBs it had endorsed."""

    settings: Configuration = field(default_factory=configuration)
    secret: bytes = bytes(range(32))

    def __post_init__(self) -> None:
        self.chip = Chip(self.settings.product, self.secret)
        self.endorsed: list[int] = []
        self.processor = SecureProcessor(self.chip, self.settings, self.endorsed.append)

    def created(self) -> GuestContext:
        return self.processor.gctx_create(TableMemory())

    def started(self, policy: int = POLICY) -> GuestContext:
        guest = self.created()
        self.processor.launch_start(guest, policy, bytes(16))
        return guest

    def updated(self, policy: int = POLICY) -> GuestContext:
        """A guest with a page of code, its secrets page and its VMSA, all measured."""
        guest = self.started(policy)
        self.processor.launch_update(guest, SnpPageType.NORMAL, CODE, PAGE, b"\x90" * PAGE)
        self.processor.launch_update(guest, SnpPageType.SECRETS, SECRETS, PAGE, b"")
        self.processor.launch_vmsa(guest, VMSA)
        return guest

    def finish(self, guest: GuestContext, **changes: object) -> None:
        plain = {"id_block": None, "id_auth": None, "auth_key_en": False, "vcek_disabled": False}
        self.processor.launch_finish(guest, **{**plain, "host_data": b"\x11" * 32, **changes})  # type: ignore[arg-type]

    def running(self, policy: int = POLICY, **changes: object) -> GuestContext:
        guest = self.updated(policy)
        self.finish(guest, **changes)
        return guest


class Channel:
    """What a guest knows: its secrets page and how often it asked."""

    def __init__(self, bench: Bench, guest: GuestContext, vmpck: int = 0) -> None:
        self.bench, self.guest, self.vmpck = bench, guest, vmpck
        self.key = SecretsPage.parse(guest.memory.read(SECRETS, PAGE)).vmpck[vmpck]
        self.count = 0

    def seal(self, kind: MessageType, payload: bytes, **changes: object) -> bytes:
        """A request page; `changes` are fields of its header, sealed as they stand."""
        header = replace(header_for(kind, self.count + 1, len(payload), self.vmpck), **changes)  # type: ignore[arg-type]
        plain = header.encode()
        iv = initialisation_vector(header.seqno)
        sealed = AESGCM(self.key).encrypt(iv, payload, additional_data(plain))
        page = sealed[-TAG_SIZE:] + plain[TAG_SIZE:] + sealed[:-TAG_SIZE]
        return page.ljust(PAGE, b"\0")

    def send(self, page: bytes) -> bytes:
        self.guest.memory.write(REQUEST, page)
        self.bench.processor.guest_request(self.guest, REQUEST, RESPONSE)
        return self.guest.memory.read(RESPONSE, PAGE)

    def open(self, page: bytes) -> tuple[MessageHeader, bytes]:
        header = MessageHeader.parse(page)
        sealed = page[HEADER_SIZE : HEADER_SIZE + header.size] + header.authtag
        aad = additional_data(page[:HEADER_SIZE])
        return header, AESGCM(self.key).decrypt(initialisation_vector(header.seqno), sealed, aad)

    def ask(self, kind: MessageType, payload: bytes) -> bytes:
        header, answer = self.open(self.send(self.seal(kind, payload)))
        assert header.kind == kind + 1
        assert header.seqno == self.count + 2
        self.count += 2
        return answer

    def report(self, data: bytes = bytes(64), vmpl: int | None = None, key_select: int = 0) -> ReportResponse:
        request = ReportRequest(data, self.vmpck if vmpl is None else vmpl, key_select)
        return ReportResponse.parse(self.ask(MessageType.REPORT_REQ, request.encode()))
