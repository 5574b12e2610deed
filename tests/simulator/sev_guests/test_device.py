"""``/dev/sev`` through the machine's socket: every SEV command, its length query, and its refusals."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

import pytest

from tests.simulator.driving import run
from tests.simulator.sev.bench import OwnerAuthority
from tests.simulator.sev_guests.driving import KVM, Tenant, bare_platform, certificates
from wasmkeep.evidence.roots import simulated_root
from wasmkeep.evidence.sev import certificate, chain
from wasmkeep.hardware import psp_sev, psp_sev_calls
from wasmkeep.hardware.calls import Call, IoctlRefused, Pointer
from wasmkeep.hardware.machine_calls import CpuChoice
from wasmkeep.hardware.psp_sev import SevUserDataPdhCertExport, SevUserDataPekCsr
from wasmkeep.hardware.sev_commands import SevPlatformState
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.simulated import Platform

OWN = ("--slots", "20", "--min-sev-asid", "11")  # a machine that this file takes and resets


async def refused_with(action: Callable[[], Awaitable[object]]) -> int:
    with pytest.raises(FirmwareError) as refused:
        await action()
    return refused.value.status


def test_the_status_says_versions_and_what_was_initialised_on_demand() -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            await on.pdh_cert_export()
            status = await on.sev_status()
            said = f"{status.api_major}.{status.api_minor}.{status.build}"
            assert said == on.description.sev_firmware == "1.55.40"
            assert (status.state, status.es, status.owned) == (SevPlatformState.INIT, True, False)
            assert status.guest_count == 0

    run(test())


def test_the_exported_chain_leads_to_the_machines_root() -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            root = bytes.fromhex(on.description.root_sha256)
            authentic = chain.authenticate(await certificates(on), {root: simulated_root(root)})
            assert authentic.generation == "Genoa"
            assert (await on.get_id()).hex() == on.description.chip_id

    run(test())


def test_keys_are_made_anew_on_request_and_at_a_reset() -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            first = await certificates(on)
            await on.pdh_gen()
            second = await certificates(on)
            assert second.pdh != first.pdh
            assert (second.pek, second.oca) == (first.pek, first.oca)
            await on.pek_gen()
            third = await certificates(on)
            assert third.pek != second.pek
            assert third.oca != second.oca
            await on.factory_reset()
            assert (await on.sev_status()).state is SevPlatformState.UNINIT
            fourth = await certificates(on)
            assert fourth.oca != third.oca
            assert fourth.cek == third.cek

    run(test())


def test_an_owner_takes_the_platform_once() -> None:
    owner = OwnerAuthority()

    async def test() -> None:
        async with bare_platform(*OWN) as on:
            await on.pek_gen()
            request = certificate.parse(await on.pek_csr(), "PEK")
            assert all(slot.empty for slot in request.slots)
            pek, oca = owner.sign(request).encode(), owner.certificate.encode()
            await on.pek_cert_import(pek, oca)
            assert (await on.sev_status()).owned
            exported = await certificates(on)
            assert exported.oca == oca
            root = bytes.fromhex(on.description.root_sha256)
            authentic = chain.authenticate(
                exported, {root: simulated_root(root)}, {chain.key_digest(owner.certificate)}
            )
            assert authentic.generation == "Genoa"
            assert await refused_with(lambda: on.pek_cert_import(pek, oca)) == SevStatus.ALREADY_OWNED
            await on.pek_gen()
            assert not (await on.sev_status()).owned
            stranger = OwnerAuthority().certificate.encode()
            assert await refused_with(lambda: on.pek_cert_import(pek, stranger)) != SevStatus.SUCCESS

    run(test())


async def asked(on: Platform, call: Call) -> tuple[int, int, tuple[bytes, ...]]:
    """Result, firmware status and memory of a call."""
    answer = await on._connection.call(call)
    status = psp_sev.SevIssueCmd.from_buffer_copy(answer.result.memory[0]).error
    return answer.result.value, status, answer.result.memory


def test_length_queries_are_answered_with_lengths() -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            for call, needed in ((psp_sev.get_id(0), 64), (psp_sev_calls.pek_csr(0), 2084)):
                answer = await on._connection.call(call)
                assert answer.result.value == -errno.EIO
                assert psp_sev_calls.needed_length(call, answer.result) == needed
            for rooms in ((0, 0), (2083, 6252), (2084, 6251)):
                answer = await on._connection.call(psp_sev_calls.pdh_cert_export(*rooms))
                assert answer.result.value == -errno.EIO
                assert psp_sev_calls.needed_export_lengths(answer.result) == (2084, 6252)
            for room in (1, 2083):
                value, status, _ = await asked(on, psp_sev_calls.pek_csr(room))
                assert (value, status) == (-errno.EIO, SevStatus.INVALID_LENGTH)

    run(test())


def blob(
    command: psp_sev.SevCommand, structure: bytes, *memory: bytes, pointers: tuple[Pointer, ...] = ()
) -> Call:
    return psp_sev.issue("TEST", command, structure, *memory, pointers=pointers)


def structure(kind: type[SevUserDataPekCsr | SevUserDataPdhCertExport], **fields: int) -> bytes:
    return bytes(kind(**fields))


TOO_LONG = psp_sev.MAX_BLOB + 1
KERNEL_REFUSALS: dict[str, tuple[Call, int]] = {
    "PEK_CSR into more than any blob": (
        blob(psp_sev.SevCommand.PEK_CSR, structure(SevUserDataPekCsr, address=1, length=TOO_LONG)),
        errno.EFAULT,
    ),
    "PEK_CSR into nowhere": (
        blob(psp_sev.SevCommand.PEK_CSR, structure(SevUserDataPekCsr, address=1, length=2084)),
        errno.EFAULT,
    ),
    "PDH_CERT_EXPORT into more than any blob": (
        blob(
            psp_sev.SevCommand.PDH_CERT_EXPORT,
            structure(
                SevUserDataPdhCertExport, pdh_cert_address=1, pdh_cert_len=TOO_LONG, cert_chain_address=1
            ),
        ),
        errno.EFAULT,
    ),
    "PEK_CERT_IMPORT of nothing": (psp_sev_calls.pek_cert_import(b"", b""), errno.EINVAL),
    "PEK_CERT_IMPORT without an owner": (psp_sev_calls.pek_cert_import(bytes(2084), b""), errno.EINVAL),
    "PEK_CERT_IMPORT of too much": (
        psp_sev_calls.pek_cert_import(bytes(TOO_LONG), bytes(2084)),
        errno.EINVAL,
    ),
    "GET_ID into more than any blob": (psp_sev.get_id(TOO_LONG), errno.EINVAL),
    "no structure": (psp_sev.issue("TEST", psp_sev.SevCommand.PLATFORM_STATUS), errno.EFAULT),
}


@pytest.mark.parametrize("name", KERNEL_REFUSALS)
def test_what_the_kernel_refuses_never_reaches_the_firmware(name: str) -> None:
    call, number = KERNEL_REFUSALS[name]

    async def test() -> None:
        async with bare_platform(*OWN) as on:
            value, status, _ = await asked(on, call)
            assert (value, status) == (-number, 0)

    run(test())


def test_certificates_that_are_none_are_refused_by_the_firmware() -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            await on.pek_gen()
            own = await certificates(on)
            status = await refused_with(lambda: on.pek_cert_import(bytes(2084), bytes(2084)))
            assert status == SevStatus.INVALID_CERTIFICATE
            status = await refused_with(lambda: on.pek_cert_import(own.pek[:-1], own.oca))
            assert status in (SevStatus.INVALID_LENGTH, SevStatus.INVALID_CERTIFICATE)

    run(test())


@pytest.mark.parametrize("cpu", [KVM])
def test_while_guests_live_the_platform_stays_as_it_is(cpu: CpuChoice) -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            tenant = await Tenant.of(on)
            guest = await on.create_sev_guest(4096, cpu=cpu)
            await guest.launch_start(tenant.policy)
            assert (await on.sev_status()).state is SevPlatformState.WORKING
            with pytest.raises(IoctlRefused) as refused:
                await on.factory_reset()
            assert refused.value.number == errno.EBUSY
            assert await refused_with(on.pek_gen) == SevStatus.INVALID_PLATFORM_STATE
            await guest.close()
            assert (await on.sev_status()).state is SevPlatformState.INIT
            await on.pek_gen()

    run(test())


def test_the_older_call_gives_the_identity_and_an_empty_second_socket() -> None:
    async def test() -> None:
        async with bare_platform(*OWN) as on:
            _, _, memory = await asked(on, psp_sev.issue("GET_ID", psp_sev.SevCommand.GET_ID, bytes(128)))
            assert memory[1] == await on.get_id() + bytes(64)

    run(test())
