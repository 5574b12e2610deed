"""A guest as the secure processor knows it: its context (GCTX), and the memory it is launched into."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from wasmkeep.hardware.snp_messages import VMPCK_COUNT, VMPCK_SIZE
from wasmkeep.simulator.id_block import NO_ID_BLOCK, IdBlock
from wasmkeep.simulator.launch_digest import DIGEST_SIZE
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.states import GuestState

HOST_DATA_SIZE = 32
POLICY_SMT = 1 << 16
POLICY_MUST_BE_ONE = 1 << 17
POLICY_MIGRATE_MA = 1 << 18
POLICY_DEBUG = 1 << 19
POLICY_MEM_AES_256_XTS = 1 << 22
POLICY_RAPL_DIS = 1 << 23
POLICY_CIPHERTEXT_HIDING = 1 << 24


class GuestMemory(Protocol):
    """Private memory of a guest, by guest-physical address; zero until written."""

    size: int

    def read(self, gpa: int, size: int) -> bytes: ...
    def write(self, gpa: int, data: bytes | memoryview) -> None: ...
    def zero(self, gpa: int, size: int) -> None:
        """Zeros where nothing was written yet: the guest is about to use these pages."""

    def is_shared(self, gpa: int, size: int) -> bool: ...


def _four_keys() -> tuple[bytes, bytes, bytes, bytes]:
    drawn = secrets.token_bytes(VMPCK_COUNT * VMPCK_SIZE)
    keys = [drawn[VMPCK_SIZE * index : VMPCK_SIZE * (index + 1)] for index in range(VMPCK_COUNT)]
    return keys[0], keys[1], keys[2], keys[3]


@dataclass(slots=True)
class GuestContext:
    """The state that the firmware keeps of one guest. Secrets are made with it and die with it."""

    memory: GuestMemory
    state: GuestState = GuestState.INIT
    policy: int = 0
    asid: int = 0
    launch_tcb: int = 0
    launch_digest: bytes = bytes(DIGEST_SIZE)
    gosvw: bytes = bytes(16)
    host_data: bytes = bytes(HOST_DATA_SIZE)
    id_block: IdBlock = NO_ID_BLOCK
    vcek_disabled: bool = False
    assigned: set[int] = field(default_factory=set)  # page numbers whose RMP entry is validated
    message_count: list[int] = field(default_factory=lambda: [0] * VMPCK_COUNT)
    report_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    vmpck: tuple[bytes, bytes, bytes, bytes] = field(default_factory=_four_keys, repr=False)
    root_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)  # VMRK
    memory_key: MemoryKey = field(default_factory=MemoryKey, repr=False)
