"""A machine whose guests are scripts: generators that write the window as a keep would and yield exits."""

from __future__ import annotations

import asyncio
import mmap
import struct
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

from wasmkeep.errors import SystemFailure
from wasmkeep.host.images import PreparedImage
from wasmkeep.host.machine import Region
from wasmkeep.host.window import FOREVER, WINDOW_SIZE

EXITCODE, INFO1, INFO2, RAX, BITMAP, VERSION, USAGE = 0x390, 0x398, 0x3A0, 0x1F8, 0x3F0, 0xFFA, 0xFFC
CONTROL, DATA = 0x1000, 0x1_0000
PORT_10, GUEST_REQUEST = 0x0010_0210, 0x8000_0011
OFFER = b"the keep's offer"
CHIP_ID = bytes(range(64)).hex()
VERSION_1 = (1).to_bytes(4, "little")
TCB = 0x4817000000000009
MEMORY = 32 << 20


@dataclass(frozen=True)
class Exit:
    kind: str = "vmgexit"
    rip: int | None = None


class Loop:
    """The guest runs on and never exits."""


Step = Exit | type[Loop] | Exception
Keep = Callable[[memoryview], Generator[Step, None, None]]


def write_ghcb(window: memoryview, code: int, info1: int, info2: int, *fields: int) -> None:
    window[:0x1000] = bytes(0x1000)
    struct.pack_into("<QQQ", window, EXITCODE, code, info1, info2)
    struct.pack_into("<HI", window, VERSION, 2, 0)
    bitmap = sum(1 << (field // 8) for field in (EXITCODE, INFO1, INFO2, *fields))
    window[BITMAP : BITMAP + 16] = bitmap.to_bytes(16, "little")


def port_exit(
    window: memoryview, operation: int, message: bytes = b"", wait: int = 0, *, code: int = 0, detail: int = 0
) -> Exit:
    write_ghcb(window, 0x7B, PORT_10, 0, RAX)
    window[DATA : DATA + len(message)] = message
    struct.pack_into("<IIQI", window, CONTROL, operation, len(message), wait, code)
    struct.pack_into("<Q", window, CONTROL + 0x14, detail)
    return Exit()


def exchange(window: memoryview, message: bytes = b"", wait: int = FOREVER) -> Exit:
    return port_exit(window, 1, message, wait)


def end(window: memoryview, message: bytes = b"") -> Exit:
    return port_exit(window, 2, message)


def refuse(window: memoryview, code: int, detail: int = 0) -> Exit:
    return port_exit(window, 3, code=code, detail=detail)


def guest_message(window: memoryview) -> Exit:
    write_ghcb(window, GUEST_REQUEST, 0x20_2000, 0x20_3000)
    return Exit()


def received(window: memoryview) -> bytes:
    (length,) = struct.unpack_from("<I", window, CONTROL + 0x100)
    return bytes(window[DATA : DATA + length])


def echo(window: memoryview) -> Generator[Step, None, None]:
    """Asks for a report, offers, answers one message, ends."""
    window[0x2000:0x2010] = b"sealed request.."
    yield guest_message(window)
    yield exchange(window, OFFER)
    message = received(window)
    yield exchange(window, b"first " + message[:900_000], 0)
    yield end(window, b"last " + message[:900_000])


def endless_echo(window: memoryview) -> Generator[Step, None, None]:
    """Answers every message."""
    message = OFFER
    while True:
        yield exchange(window, message)
        message = b"echo " + received(window)


class FakeGuest:
    def __init__(self, platform: FakePlatform, keep: Keep, window: memoryview) -> None:
        self.window = window
        self.closed = False
        self.requests: list[tuple[int, int]] = []
        self.runs = 0
        self._platform = platform
        self._script = keep(window)
        self.passing = 0

    def _asks_for_the_secure_processor(self) -> bool:
        return struct.unpack_from("<Q", self.window, EXITCODE) == (GUEST_REQUEST,)

    async def run(self) -> Exit:
        self.runs += 1
        await asyncio.sleep(0)
        step = next(self._script)
        while self.passing and isinstance(step, Exit) and self._asks_for_the_secure_processor():
            self.passing -= 1
            status = await self.guest_request(*struct.unpack_from("<QQ", self.window, INFO1))
            struct.pack_into("<QQ", self.window, INFO1, 0, status)
            step = next(self._script)
        if isinstance(step, Exception):
            raise step
        if step is Loop:
            await asyncio.Event().wait()
        assert isinstance(step, Exit)
        return step

    async def guest_request(self, request_gpa: int, response_gpa: int) -> int:
        await asyncio.sleep(0)
        self.requests.append((request_gpa, response_gpa))
        self.window[0x3000:0x3010] = b"sealed response."
        return 0

    async def close(self) -> None:
        await asyncio.sleep(self._platform.close_seconds)
        if not self.closed:
            self.closed = True
            self._platform.alive -= 1


@dataclass(frozen=True)
class Description:
    product: str = "genoa"
    root_sha256: str = "5f" * 32
    cpu: str = "process"
    cpu_reason: str = "/dev/kvm is absent"
    slots: int = 509
    chip_id: str = CHIP_ID


@dataclass(frozen=True)
class Status:
    guest_count: int
    reported_tcb: int = TCB


@dataclass(frozen=True)
class Launched:
    memory: int
    regions: tuple[Region, ...]
    vmsa: bytes
    policy: int
    host_data: bytes
    guest: FakeGuest


PDH, PEK, OCA, RAW_CEK = (VERSION_1 + bytes([fill]) * 2080 for fill in (1, 2, 3, 4))
MEASUREMENT = b"m" * 32 + b"n" * 16


@dataclass(frozen=True)
class SevStatus:
    api_major: int = 1
    api_minor: int = 55
    build: int = 40


class FakeSevGuest(FakeGuest):
    """Notes the commands of a launch of SEV or SEV-ES after its measurement."""

    measurement = MEASUREMENT

    def __init__(self, platform: FakePlatform, keep: Keep, launch: SevLaunched) -> None:
        super().__init__(platform, keep, memoryview(mmap.mmap(-1, WINDOW_SIZE)))
        self.launch = launch
        self.injected: list[tuple[bytes, bytes, int]] = []
        self.finished = False

    async def inject(self, header: bytes, data: bytes, gpa: int) -> None:
        self._platform.refuse("inject")
        self.injected.append((header, data, gpa))

    async def finish(self) -> None:
        self._platform.refuse("finish")
        self.finished = True


@dataclass(frozen=True)
class SevLaunched:
    kind: str
    memory: int
    regions: tuple[Region, ...]
    vmsa: bytes
    policy: int
    owner_certificate: bytes
    session: bytes


@dataclass
class FakePlatform:
    """Launches ``keep`` for everyone. ``refusing`` is raised by launches; ``stalled`` ones never return.
    ``refusing_at`` names the step of a SEV launch that refuses."""

    keep: Keep = echo
    refusing: Exception | None = None
    stalled: bool = False
    broken: bool = False
    close_seconds: float = 0
    alive: int = 0
    begun: int = 0
    began: int = 0
    refusing_at: str = "start"
    exported: int = 0
    chip_id: bytes = bytes.fromhex(CHIP_ID)
    launched: list[Launched] = field(default_factory=list)
    sev_guests: list[FakeSevGuest] = field(default_factory=list)
    description: Description = field(default_factory=Description)

    async def status(self) -> Status:
        if self.broken:
            raise SystemFailure("platform.machine", "the machine is gone")
        return Status(self.alive - sum(not guest.closed for guest in self.sev_guests))  # SNP's only

    async def launch(
        self,
        memory: int,
        regions: Iterable[Region],
        vmsa: bytes,
        *,
        policy: int,
        host_data: bytes,
        id_block: bytes | None = None,
        id_auth: bytes | None = None,
        guest_requests: int = 0,
    ) -> FakeGuest:
        await asyncio.sleep(0)
        if self.refusing is not None:
            raise self.refusing
        if self.stalled:
            await asyncio.Event().wait()
        self.alive += 1
        guest = FakeGuest(self, self.keep, memoryview(mmap.mmap(-1, WINDOW_SIZE)))
        guest.passing = guest_requests
        self.launched.append(Launched(memory, tuple(regions), vmsa, policy, host_data, guest))
        return guest

    def refuse(self, step: str) -> None:
        if self.refusing is not None and self.refusing_at == step:
            raise self.refusing

    async def sev_status(self) -> SevStatus:
        if self.broken:
            raise SystemFailure("platform.machine", "the machine is gone")
        return SevStatus()

    async def pdh_cert_export(self) -> tuple[bytes, bytes]:
        if self.broken:
            raise SystemFailure("platform.machine", "the machine is gone")
        self.exported += 1
        return PDH, PEK + OCA + RAW_CEK

    async def get_id(self) -> bytes:
        return self.chip_id

    async def launch_sev(
        self,
        kind: str,
        memory: int,
        regions: Iterable[Region],
        vmsa: bytes,
        *,
        policy: int,
        owner_certificate: bytes,
        session: bytes,
    ) -> FakeSevGuest:
        await asyncio.sleep(0)
        self.refuse("start")
        if self.stalled:
            await asyncio.Event().wait()
        self.alive += 1
        launch = SevLaunched(kind, memory, tuple(regions), vmsa, policy, owner_certificate, session)
        self.sev_guests.append(FakeSevGuest(self, self.keep, launch))
        return self.sev_guests[-1]

    def begin_next(self) -> None:
        self.began += 1


@dataclass(frozen=True)
class FakeRegion:
    gpa: int
    size: int
    page_type: int
    data: bytes


class FakeImages:
    names = ("wasmkeep 0.1.0",)

    def prepare(self, memory: int, tee: str) -> PreparedImage:
        return PreparedImage(
            "process" if tee == "snp" else f"process-{tee}",
            b"\x11" * 32,
            (FakeRegion(0x10_0000, 4096, 1, b"\x90" * 4096),),
            bytes(4096),
        )
