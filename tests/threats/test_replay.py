"""What SEV and SEV-ES do not stop: memory is encrypted there, and nobody checks that it is the newest.

A host puts old ciphertext back where it stood, or has the nested page table show a guest another of its own
pages. On SEV-SNP the first is refused. Ciphertext put anywhere else decrypts to garbage everywhere.
"""

from __future__ import annotations

import errno
import functools
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.hostile.lying_host import Attempt, Liar
from tests.machines import HAS_KVM, machine
from tests.simulator.driving import run
from tests.simulator.machine.bare import Computer
from tests.threats.bare import ANY, ENCRYPTED, Kind, opened, page, without_owner
from tests.threats.keeps import (
    DATA,
    FLOODED,
    AttackedGuest,
    AttackingHost,
    TenantsKeys,
    deployed,
    flooding,
)
from wasmkeep.hardware.calls import IoctlRefused
from wasmkeep.hardware.machine_guest import Exit, ExitKind, MachineGuest
from wasmkeep.protocol.binding import DirectionKey
from wasmkeep.tenant.preparation import Prepared

PAGE = 4096
COUNTER_AT, OTHER_AT = 0x2000, 0x3000
# again: inc byte [2000h] · hlt · jmp again
COUNT = bytes.fromhex("fe 06 00 20  f4  eb f9")
# mov al, [2000h] · mov [4000h], al · hlt
TAKE = bytes.fromhex("a0 00 20  a2 00 40  f4")
TAKEN_AT = 0x4000


@ANY
def test_replay_of_ciphertext_at_the_same_address(kind: Kind) -> None:
    """The guest counts. What it wrote at one is put back at three, and it goes on to two."""

    async def whole() -> None:
        contents = {0: page(COUNT), COUNTER_AT: bytes(PAGE), OTHER_AT: bytes(PAGE)}
        async with opened(machine()) as platform, without_owner(platform, kind, contents) as guest:
            seen = []
            for _ in range(3):
                assert (await guest.run()).kind is ExitKind.HALTED
                seen.append(await guest.host_read(COUNTER_AT, 16))
            assert len(set(seen)) == 3
            await guest.host_write(COUNTER_AT, seen[0])
            assert (await guest.run()).kind is ExitKind.HALTED
            assert await guest.host_read(COUNTER_AT, 16) == seen[1], "it is at two again"
            # At another address the same ciphertext is nothing.
            await guest.host_write(OTHER_AT, seen[0])
            await guest.host_write(COUNTER_AT, await guest.host_read(OTHER_AT + 16, 16))
            assert (await guest.run()).kind is ExitKind.HALTED
            assert await guest.host_read(COUNTER_AT, 16) not in seen

    run(whole())


@ENCRYPTED
def test_remapping_through_nested_page_tables(kind: Kind) -> None:
    """The guest reads one of its pages where it means another: the physical address did not change."""
    contents = {0: page(TAKE), COUNTER_AT: page(b"meant"), OTHER_AT: page(b"other"), TAKEN_AT: bytes(PAGE)}
    for remapped in (False, True):
        computer = Computer()
        with computer.guest(contents, es=kind.es) as guest:
            if remapped:
                guest.cpu.nested.remap(COUNTER_AT, guest.cpu.spa(OTHER_AT, PAGE))
            guest.cpu.run()
            assert guest.cpu.read(TAKEN_AT, 1) == (b"o" if remapped else b"m")
            # Copying the ciphertext there is something else: the address is part of the encryption.
            raw = guest.raw(OTHER_AT, 16)
            computer.dram.write(guest.cpu.spa(TAKEN_AT, 16), raw)
            assert guest.cpu.read(TAKEN_AT, 16) != guest.cpu.read(OTHER_AT, 16)


class RewindingGuest(AttackedGuest):
    """A keep that finds an old page where it has its variables, the number of its next record among them."""

    _EXIT = 5  # the page is kept there, while output is on its way, and put back at the next

    def __init__(self, guest: MachineGuest, refused: list[int]) -> None:
        super().__init__(guest)
        self._refused = refused
        self._exits = 0
        self._old = b""

    async def run(self) -> Exit:
        end: Exit = await self._guest.run()  # type: ignore[attr-defined]  # each kind has its own
        self._exits += 1
        if self._exits == self._EXIT:
            self._old = await self._guest.host_read(DATA, PAGE)
        elif self._exits == self._EXIT + 1:
            try:
                await self._guest.host_write(DATA, self._old)
            except IoctlRefused as refused:
                self._refused.append(refused.number)
        return end


def rewound(tee: str, goods: Prepared, refused: list[int]) -> tuple[Attempt, list[bytes]]:
    """What came of it, and what the keep sent."""
    tap = Liar()
    wrap = functools.partial(RewindingGuest, refused=refused)
    return deployed(tee, goods, functools.partial(AttackingHost, wrap=wrap), tap), tap.from_keep


def first_record(message: bytes, key: DirectionKey) -> tuple[int, bytes, bytes]:
    """The number that it was sealed under, ciphertext and plaintext. Only the tenant can tell."""
    prefix, size = message[:4], int.from_bytes(message[:4], "little")
    sealed = message[4 : 4 + size]
    for number in range(100):
        nonce = (int.from_bytes(key.iv, "big") ^ number).to_bytes(12, "big")
        with suppress(InvalidTag):
            return number, sealed[:-16], AESGCM(key.key).decrypt(nonce, sealed, prefix)
    raise AssertionError("sealed under no such number")


def difference(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("tee", ["sev", "sev-es", "snp"])
@pytest.mark.kvm
@pytest.mark.skipif(not HAS_KVM, reason="/dev/kvm is not here or not permitted")
def test_a_keep_with_old_memory_seals_two_records_under_one_nonce(
    tee: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a host learns how the two plaintexts differ. The tenant notices, after that."""
    tenant, refused = TenantsKeys(monkeypatch), list[int]()
    result, sent = rewound(tee, flooding(tmp_path), refused)
    if tee == "snp":
        assert refused == [errno.EFAULT]
        assert (result.error, result.stdout) == (None, FLOODED)
        return
    assert not refused
    assert "session.authentication" in result.checks
    assert FLOODED.startswith(result.stdout)
    output = [first_record(message, tenant.keys[1]) for message in sent[3:8]]
    (one, first, plain), (two, second, other) = next(
        pair for pair in pairwise(output) if pair[0][0] == pair[1][0]
    )
    assert one == two
    assert plain != other
    assert difference(first, second) == difference(plain, other)
