"""The real keep on this machine, from image to first message, and evidence that a verifier accepts."""

from __future__ import annotations

import asyncio
import os
import struct
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.machines import BootedMachine, machine
from tests.simulator.driving import EITHER, POLICY, platform, run
from wasmkeep.errors import WasmkeepError
from wasmkeep.evidence import Rejected, SnpEvidence, verify
from wasmkeep.evidence.policy import Policy
from wasmkeep.evidence.snp import report as reports
from wasmkeep.hardware.simulated import ExitKind, Platform
from wasmkeep.image import OWN_NAME, Launch, MachineKind, expected_launch_digest, launch, read_image

MEMORY = 64 << 20
GHCB_EXIT, GHCB_INFO1, GHCB_INFO2 = 0x390, 0x398, 0x3A0
CONTROL, HINTS, DATA = 0x1000, 0x1200, 0x10000
GUEST_REQUEST, IOIO = 0x8000_0011, 0x7B
OFFER_HEAD = 1288
REPORT_SIZE = 1184


@cache
def image(cpu: str) -> Launch:
    kind = MachineKind.SNP if cpu == "kvm" else MachineKind.PROCESS
    try:
        return launch(kind, read_image(kind), MEMORY)
    except WasmkeepError as error:
        pytest.skip(f"the keep's image is not here as recorded: {error.message}")


async def offered(on: Platform, host_data: bytes, *, passing: int = 0) -> bytes:
    """Launch a keep and give what it says first. The kernel passes on ``passing`` guest requests."""
    laid_out = image(on.description.cpu)
    guest = await on.launch(
        MEMORY,
        laid_out.regions,
        laid_out.vmsa,
        policy=POLICY,
        host_data=host_data,
        guest_requests=passing,
    )
    struct.pack_into("<32s32sQ", guest.window, HINTS, os.urandom(32), host_data, 2_500_000)
    for _ in range(4):
        assert (await guest.run()).kind is ExitKind.VMGEXIT
        code, info1, info2 = struct.unpack_from("<QQQ", guest.window, GHCB_EXIT)
        if code == IOIO:
            break
        assert (code, passing) == (GUEST_REQUEST, 0)
        struct.pack_into("<Q", guest.window, GHCB_INFO2, await guest.guest_request(info1, info2))
    operation, size = struct.unpack_from("<II", guest.window, CONTROL)
    assert operation == 1, f"refused with {struct.unpack_from('<I', guest.window, CONTROL + 0x10)}"
    offer = bytes(guest.window[DATA : DATA + size])
    await guest.close()
    return offer


def endorsed(booted: BootedMachine, report: bytes) -> SnpEvidence:
    (service,) = (booted.kds / "vcek" / "v1").iterdir()
    parsed = reports.parse(report)
    hwid = parsed.chip_id[: 8 if booted.product == "turin" else 64].hex()
    tcb = parsed.reported_tcb.to_bytes(8, "little")
    wanted = f"snpSPL={tcb[3 if booted.product == 'turin' else 6]},"
    (vcek,) = [path for path in (service / hwid).iterdir() if wanted in path.name]
    chain = x509.load_pem_x509_certificates((service / "cert_chain").read_bytes())
    der = tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)
    return SnpEvidence(report, vcek.read_bytes(), der, (service / "crl").read_bytes())


def policy(booted: BootedMachine, version: int = 3) -> Policy:
    """The default, but for the pin, and for what an old generation or an old report needs said."""
    lines = [f'simulated = "{booted.root}"', 'platforms = ["snp"]', "[snp]"]
    if booted.product == "milan":
        lines.append('generations = ["Milan"]')
    if version < 3:  # such reports have no alias check to look at
        lines += ["minimum_report_version = 2", "alias_check = false"]
    return Policy.from_toml("\n".join(lines), name="test")


def judged(booted: BootedMachine, report: bytes, host_data: bytes, rules: Policy) -> object:
    return verify(
        endorsed(booted, report),
        rules,
        at=datetime.now(UTC),
        binding=report[0x50:0x90],
        host_data=host_data,
        reference_values={expected_launch_digest(image(booted.cpu)): OWN_NAME},
    )


@EITHER
@pytest.mark.parametrize("passing", [0, 1], ids=["exits", "inside the kernel"])
def test_a_keep_offers_evidence_that_a_verifier_accepts(cpu: str, passing: int) -> None:
    host_data = os.urandom(32)

    async def test() -> bytes:
        async with platform(cpu) as on:
            return await offered(on, host_data, passing=passing)

    image(cpu)
    offer = run(test())
    assert struct.unpack_from("<I", offer, OFFER_HEAD - 4)[0] == REPORT_SIZE
    report = offer[OFFER_HEAD:]
    assert len(report) == REPORT_SIZE
    booted = machine(cpu=cpu)
    judged(booted, report, host_data, policy(booted))
    with pytest.raises(Rejected):
        judged(booted, report, bytes(32), policy(booted))
    with pytest.raises(Rejected):  # the control: the same evidence is nothing without the pin
        judged(booted, report, host_data, Policy.default())


@pytest.mark.parametrize(
    ("product", "version"), [("genoa", 2), ("genoa", 5), ("turin", 5), ("milan", 2), ("milan", 3)]
)
def test_every_generation_and_report_version_is_accepted(product: str, version: int) -> None:
    options = ["--report-version", str(version)]
    booted = machine(*options, product=product, cpu="process")
    host_data = os.urandom(32)
    image("process")

    async def test() -> bytes:
        on = await Platform.open(booted.socket)
        offer = await offered(on, host_data)
        await on.close()
        return offer

    report = run(test())[OFFER_HEAD:]
    assert report[0] == version
    judged(booted, report, host_data, policy(booted, version))


@EITHER
def test_a_keep_refuses_another_tenants_host_data(cpu: str) -> None:
    async def test() -> None:
        async with platform(cpu) as on:
            laid_out = image(cpu)
            guest = await on.launch(
                MEMORY, laid_out.regions, laid_out.vmsa, policy=POLICY, host_data=b"\1" * 32
            )
            struct.pack_into("<32s32sQ", guest.window, HINTS, bytes(32), b"\2" * 32, 2_500_000)
            await guest.run()
            info1, info2 = struct.unpack_from("<QQ", guest.window, GHCB_INFO1)
            struct.pack_into("<Q", guest.window, GHCB_INFO2, await guest.guest_request(info1, info2))
            await guest.run()
            assert struct.unpack_from("<I", guest.window, CONTROL)[0] == 3  # REFUSE
            await guest.close()

    image(cpu)
    run(test())


@EITHER
def test_two_keeps_of_one_image_share_nothing_but_their_measurement(cpu: str) -> None:
    async def test() -> tuple[bytes, bytes]:
        async with platform(cpu) as on:
            first, second = await asyncio.gather(offered(on, bytes(32)), offered(on, bytes(32)))
            return first, second

    image(cpu)
    first, second = (offer[OFFER_HEAD:] for offer in run(test()))
    same = {
        "measurement": (0x90, 0xC0),
        "chip": (0x1A0, 0x1E0),
    }
    differs = {"report data": (0x50, 0x90), "report id": (0x140, 0x160), "signature": (0x2A0, 0x330)}
    for begin, end in same.values():
        assert first[begin:end] == second[begin:end]
    for begin, end in differs.values():
        assert first[begin:end] != second[begin:end]


def test_the_folder_of_endorsements_names_nothing_secret() -> None:
    booted = machine(cpu="process")
    assert {path.name for path in booted.kds.iterdir()} == {"vcek", "vlek", "cek", "sev"}
    assert not [path for path in Path(booted.kds).rglob("*") if path.suffix == ".key"]
