"""The one exit and the one window: what a keep shows its host, and what a host's lies lead to."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.keep import packages
from tests.keep.bare_machine import (
    MEMORY,
    KvmMachine,
    Machine,
    ProcessMachine,
    configuration_page,
)
from tests.keep.conftest import image
from tests.keep.test_refusals import codes, good_invocation, good_program
from tests.keep.wire import CONTROL, DATA, HostSide, Outcome, PublicRefusal, Relay
from wasmkeep.hardware.kvm import Kvm
from wasmkeep.protocol import binding
from wasmkeep.protocol.events import Shipment
from wasmkeep.protocol.statements import Exited

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "host-interface.md"


def good() -> Shipment:
    return packages.raw(good_program(), good_invocation())


def refused(outcome: Outcome) -> str:
    """The name of the public refusal."""
    assert isinstance(outcome.ending, PublicRefusal), outcome.ending
    assert outcome.ending.detail == 0
    return name_of(outcome.ending.code)


def name_of(code: int) -> str:
    return next(name for name, value in codes().items() if value == code)


# What a keep shows.


def test_each_exit_states_its_fields_and_nothing_else(relay: Relay) -> None:
    seen: list[tuple[int, ...]] = []

    def look(host: HostSide) -> None:
        page = bytes(host.machine.window[:4096])
        fields = {0x1F8, 0x390, 0x398, 0x3A0, 0x3F0, 0x3F8}
        rest = [page[at : at + 8] for at in range(0, 4096, 8) if at not in fields and at != 0xFF8]
        assert not any(map(any, rest))
        version, usage = struct.unpack_from("<HI", page, 0xFFA)
        seen.append(
            (
                *struct.unpack_from("<QQQ", page, 0x390),
                *struct.unpack_from("<QQ", page, 0x3F0),
                version,
                usage,
            )
        )

    relay.host.tamper = look
    assert relay.run(good()).receipt.receipt.outcome == Exited(3)
    infos, rax = 0b111 << (114 - 64), 1 << 63
    asked = (0x8000_0011, 0x20_2000, 0x20_3000, 0, infos, 2, 0)
    out = (0x7B, 0x0010_0210, 0, rax, infos, 2, 0)
    assert seen == [asked, out, out, out]


def test_the_rest_of_the_window_is_left_alone(relay: Relay) -> None:
    window = relay.machine.window
    for start, end in (
        (0x4000, DATA),
        (CONTROL + 0x1C, CONTROL + 0x100),
        (CONTROL + 0x248, CONTROL + 0x1000),
    ):
        window[start:end] = b"\xa5" * (end - start)

    def look(host: HostSide) -> None:
        for start, end in (
            (0x4000, DATA),
            (CONTROL + 0x1C, CONTROL + 0x100),
            (CONTROL + 0x248, CONTROL + 0x1000),
        ):
            assert bytes(host.machine.window[start:end]) == b"\xa5" * (end - start)

    relay.host.tamper = look
    assert relay.run(good()).receipt


def test_a_host_sees_nothing_of_the_tenants(relay: Relay) -> None:
    secrets = [
        b"a very secret argument",
        b"NAME=a secret value",
        b"a secret file content",
        b"secret configuration",
    ]
    part, invocation = good_program(), good_invocation()
    part.segments[1].content = b"secret data of the program".ljust(64, b".")
    invocation.arguments, invocation.variables = [secrets[0]], [secrets[1]]
    invocation.files[1].content, invocation.configuration = secrets[2], secrets[3]
    secrets += [b"secret data of the program", part.segments[0].content[:16], invocation.salts.arguments]
    views: list[bytes] = []
    relay.host.tamper = lambda host: views.append(bytes(host.machine.window))
    offered: list[bool] = []
    close = relay.machine.close

    def look_inside() -> None:
        if isinstance(relay.machine, KvmMachine):
            offered.append(all(secret in bytes(relay.machine.memory.view) for secret in secrets[:3]))
        close()

    relay.machine.close = look_inside  # type: ignore[method-assign]
    assert relay.run(packages.raw(part, invocation)).receipt
    assert not [secret for secret in secrets for view in views if secret in view]
    # The control: they are in the keep's private memory, so looking for them finds them.
    assert offered in ([], [True])


def trapping() -> Shipment:
    part = good_program()
    part.segments[0].content = b"\x0f\x0b"  # ud2
    return packages.raw(part, good_invocation())


def refusing() -> Shipment:
    return packages.raw(good_program(), replace(good_invocation(), magic=bytes(8)))


@pytest.mark.parametrize("shipped", [good, trapping, refusing])
def test_keys_are_gone_at_the_end(shipped: Callable[[], Shipment], kvm: Kvm) -> None:
    secret = os.urandom(32)
    relay = Relay(snp_machine(kvm), seed=secret)
    machine = relay.machine
    assert isinstance(machine, KvmMachine)
    memory: list[bytes] = []
    close = machine.close

    def look() -> None:
        memory.append(bytes(machine.memory.view))
        close()

    machine.close = look  # type: ignore[method-assign]
    salts: list[bytes] = []
    relay.on_the_way = lambda _, message: salts.append(offered_salt(machine)) or message  # type: ignore[func-returns-value]
    assert relay.run(shipped()).events
    session = relay.session.session_id
    receiving = binding.to_keep_key(secret, session)
    sending = binding.to_tenant_key(secret, session, salts[0])
    gone = {
        "guest message key": relay.processor.key,
        "tenant's secret": secret,
        "receiving key": receiving.key,
        "sending key": sending.key,
    }
    assert not [name for name, key in gone.items() if key in memory[0]]
    assert session in memory[0]  # the control: what is not secret is still there


def offered_salt(machine: Machine) -> bytes:
    return bytes(machine.window[DATA + 1252 : DATA + 1284])


# What a host may say before the start.


def snp_machine(kvm: Kvm, **changed: bytes) -> Callable[[bytes], Machine]:
    def make(page: bytes) -> Machine:
        pages = {"secrets": page, "configuration": configuration_page()} | changed
        return KvmMachine(kvm, image("snp"), pages["secrets"], pages["configuration"], MEMORY)

    return make


def process_machine(**changed: bytes) -> Callable[[bytes], Machine]:
    def make(page: bytes) -> Machine:
        pages = {"secrets": page, "configuration": configuration_page()} | changed
        return ProcessMachine(image("process"), pages["secrets"], pages["configuration"])

    return make


def page_with(*fields: tuple[int, bytes]) -> bytes:
    changed = bytearray(configuration_page())
    for at, value in fields:
        changed[at : at + len(value)] = value
    return bytes(changed)


CONFIGURATIONS = {
    "magic": page_with((0, b"WKCONF02")),
    "empty": bytes(4096),
    "no memory": page_with((8, bytes(8))),
    "30 MiB": page_with((8, (30 << 20).to_bytes(8, "little"))),
    "not whole blocks": page_with((8, ((64 << 20) + 4096).to_bytes(8, "little"))),
    "2 TiB": page_with((8, (2 << 40).to_bytes(8, "little"))),
    "all of it": page_with((8, b"\xff" * 8)),
    "two processors": page_with((16, b"\2")),
    "no processor": page_with((16, b"\0")),
    "something behind": page_with((4095, b"\1")),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configuration_page_is_refused(name: str) -> None:
    relay = Relay(process_machine(configuration=CONFIGURATIONS[name]))
    assert refused(relay.run(good())) == "configuration_page"


@pytest.mark.parametrize("version", [0, 1, 4, 0xFFFF_FFFF])
def test_secrets_page_of_another_version_is_refused(version: int) -> None:
    relay = Relay(process_machine(secrets=struct.pack("<I", version).ljust(4096, b"\0")))
    assert refused(relay.run(good())) == "secrets_page"


@pytest.mark.parametrize("khz", [0, 499_999, 10_000_001, (1 << 64) - 1])
def test_clock_rate_out_of_range_is_refused(khz: int, relay: Relay) -> None:
    relay.host.hint(relay.session.nonce, relay.session.tenant_key_digest, khz)
    assert refused(relay.run(good())) == "clock_frequency"


@pytest.mark.parametrize("khz", [500_000, 10_000_000])
def test_clock_rate_at_the_bounds_is_taken(khz: int, relay: Relay) -> None:
    relay.host.hint(relay.session.nonce, relay.session.tenant_key_digest, khz)
    assert relay.run(good()).receipt


def test_another_tenant_than_the_launchs_is_refused(relay: Relay) -> None:
    relay.host.hint(relay.session.nonce, bytes(32))
    assert refused(relay.run(good())) == "host_data_mismatch"


def test_a_launch_for_another_tenant_is_refused(relay: Relay) -> None:
    relay.processor.host_data = bytes(32)
    assert refused(relay.run(good())) == "host_data_mismatch"


# The secure processor's answer, on its way through the host.


@pytest.mark.parametrize("status", [1, 0xFF, 1 << 32, (1 << 64) - 1])
def test_a_guest_request_that_failed_is_not_retried(status: int, relay: Relay) -> None:
    relay.host.exitinfo2 = status
    assert refused(relay.run(good())) == "guest_request_failed"
    assert len(relay.processor.requests) == 1


def test_a_report_about_other_keys_is_refused(relay: Relay) -> None:
    relay.processor.spoil = lambda report: report.__setitem__(0x50, report[0x50] ^ 1)
    assert refused(relay.run(good())) == "report_unusable"


@pytest.mark.parametrize("version", [0, 1, 6])
def test_a_report_of_an_unknown_version_is_refused(version: int, relay: Relay) -> None:
    relay.processor.spoil = lambda report: report.__setitem__(slice(0, 4), version.to_bytes(4, "little"))
    assert refused(relay.run(good())) == "report_unusable"


@pytest.mark.parametrize("status", [0x16, 0x27])
def test_a_refused_report_is_refused(status: int, relay: Relay) -> None:
    relay.processor.status = status
    assert refused(relay.run(good())) == "report_unusable"


# One position or two of each field: tag, its reserved half, number, reserved, algorithm, versions, sizes,
# type, reserved, key number, reserved, payload.
ANSWER_POSITIONS = [
    0,
    15,
    16,
    31,
    0x20,
    0x27,
    0x28,
    0x30,
    0x31,
    0x32,
    0x34,
    0x35,
    0x36,
    0x38,
    0x3C,
    0x3D,
    0x5F,
]
ANSWER_POSITIONS += [0x60, 0x80, 0x51F]


@pytest.mark.parametrize("at", ANSWER_POSITIONS)
def test_an_altered_answer_is_refused(at: int, relay: Relay) -> None:
    answer = relay.processor.answer

    def altered(message: bytes) -> bytes:
        changed = bytearray(answer(message))
        changed[at] ^= 0x20
        return bytes(changed)

    relay.processor.answer = altered  # type: ignore[method-assign]
    assert refused(relay.run(good())) == "guest_response_invalid"


def test_the_request_as_its_own_answer_is_refused(relay: Relay) -> None:
    relay.processor.answer = lambda message: message[:0x520]  # type: ignore[method-assign]
    assert refused(relay.run(good())) == "guest_response_invalid"


# The codes.


def test_codes_are_those_of_the_document() -> None:
    table = re.findall(r"^\| (\d+) \| ([a-z_]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert {name: int(number) for number, name in table} == codes()
