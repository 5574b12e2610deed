"""Messages and records that are not what they should be: the keep ends, and says by which rule."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.keep import packages
from tests.keep.bare_machine import StandInProcessor, secrets_page
from tests.keep.conftest import MachineOf
from tests.keep.test_host_interface import name_of
from tests.keep.test_refusals import good_invocation, good_program
from tests.keep.wire import CONTROL, DATA_SIZE, End, Exchange, HostSide, PublicRefusal, sha256
from wasmkeep.protocol import binding, offer
from wasmkeep.protocol.records import Opener, RecordType, Sealer

LENGTH = struct.Struct("<I")


class Tenant:
    """Makes every message by hand, so that any of it can be wrong."""

    def __init__(self, machine_of: MachineOf) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes_raw()
        self.nonce, self.secret = os.urandom(32), os.urandom(32)
        processor = StandInProcessor(sha256(self.public))
        self.machine = machine_of(secrets_page(processor.key))
        self.host = HostSide(self.machine, processor)
        self.host.hint(self.nonce, sha256(self.public))
        step = self.host.step()
        assert isinstance(step, Exchange)
        self.offer = offer.parse(step.outgoing)
        self.report_data = self.offer.evidence[0x50:0x90]
        self.message = binding.seal_secret(self.secret, self.offer.receiving_key, self.report_data)
        session = binding.session_id(self.report_data, sha256(self.message))
        self.sealer = Sealer(binding.to_keep_key(self.secret, session))
        self.opener = Opener(binding.to_tenant_key(self.secret, session, self.offer.keep_salt))

    def hello(self, key: Ed25519PrivateKey | None = None, nonce: bytes | None = None) -> bytes:
        signer = key or self.key
        signed = binding.hello_signed_bytes(
            nonce or self.nonce, self.offer.receiving_key, self.offer.receipt_key, self.message
        )
        return signer.public_key().public_bytes_raw() + signer.sign(signed)

    def seal(self, kind: int, payload: bytes) -> bytes:
        return self.sealer.seal(kind, payload)  # type: ignore[arg-type]  # types that are none, too

    def greet(self) -> bytes:
        """A right beginning."""
        return self.message + self.seal(RecordType.HELLO, self.hello())

    def say(self, message: bytes) -> Exchange | End | PublicRefusal:
        self.host.answer(message)
        step = self.host.step()
        assert isinstance(step, (Exchange, End, PublicRefusal)), step
        return step

    def refusal(self, message: bytes) -> str:
        """The rule by which the keep ends at this message."""
        step = self.say(message)
        self.machine.close()
        if isinstance(step, PublicRefusal):
            return f"public {name_of(step.code)}"
        assert isinstance(step, End), step
        [(kind, payload)] = self.opener.open_message(step.outgoing)
        assert kind is RecordType.REFUSED
        return name_of(struct.unpack_from("<I", payload)[0])


@pytest.fixture
def tenant(machine_of: MachineOf) -> Tenant:
    return Tenant(machine_of)


def package() -> bytes:
    return b"".join(bytes(part) for part in packages.raw(good_program(), good_invocation()).package)


# Before there is a channel.


@pytest.mark.parametrize("size", [1, 1119, 1167])
def test_a_short_first_message(size: int, tenant: Tenant) -> None:
    assert tenant.refusal(tenant.message[:size]) == "public first_message_length"


@pytest.mark.parametrize("at", [0, 500, 1087, 1088, 1119, 1120, 1151, 1152, 1167])
def test_an_altered_first_message(at: int, tenant: Tenant) -> None:
    message = bytearray(tenant.greet())
    message[at] ^= 1
    assert tenant.refusal(bytes(message)) == "public first_message_authentication"


def test_a_first_message_for_another_keep(machine_of: MachineOf) -> None:
    one, other = Tenant(machine_of), Tenant(machine_of)
    assert one.refusal(other.greet()) == "public first_message_authentication"
    other.machine.close()


def test_a_first_message_about_other_evidence(tenant: Tenant) -> None:
    tenant.message = binding.seal_secret(tenant.secret, tenant.offer.receiving_key, bytes(64))
    assert tenant.refusal(tenant.greet()) == "public first_message_authentication"


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little"), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_a_point_of_small_order(point: bytes, tenant: Tenant) -> None:
    message = tenant.greet()
    assert tenant.refusal(message[:1088] + point + message[1120:]) == "public first_message_authentication"


@pytest.mark.parametrize("claimed", [DATA_SIZE + 1, 1 << 31, 0xFFFF_FFFF])
def test_a_message_longer_than_the_window(claimed: int, tenant: Tenant) -> None:
    window = tenant.machine.window
    struct.pack_into("<I", window, CONTROL + 0x100, claimed)
    step = tenant.host.step()
    assert isinstance(step, PublicRefusal)
    assert name_of(step.code) == "message_length"
    tenant.machine.close()


def test_no_message_is_no_answer(tenant: Tenant) -> None:
    """A host may come back early for ever; the keep keeps waiting and says the same thing each time."""
    for _ in range(5):
        step = tenant.say(b"")
        assert step == Exchange(b"", (1 << 64) - 1)
    step = tenant.say(tenant.greet() + tenant.seal(RecordType.PACKAGE, package()))
    assert isinstance(step, Exchange)
    tenant.machine.close()


# HELLO.


def test_no_hello(tenant: Tenant) -> None:
    assert tenant.refusal(tenant.message) == "record_type"


def test_another_record_first(tenant: Tenant) -> None:
    assert tenant.refusal(tenant.message + tenant.seal(RecordType.PACKAGE, package())) == "record_type"


def test_hello_by_another_key(tenant: Tenant) -> None:
    hello = tenant.hello(Ed25519PrivateKey.generate())
    assert tenant.refusal(tenant.message + tenant.seal(RecordType.HELLO, hello)) == "tenant_key_mismatch"


def test_hello_about_another_nonce(tenant: Tenant) -> None:
    hello = tenant.hello(nonce=bytes(32))
    assert tenant.refusal(tenant.message + tenant.seal(RecordType.HELLO, hello)) == "tenant_signature"


@pytest.mark.parametrize("at", [32, 63, 64, 95])
def test_hello_with_an_altered_signature(at: int, tenant: Tenant) -> None:
    hello = bytearray(tenant.hello())
    hello[at] ^= 1
    assert tenant.refusal(tenant.message + tenant.seal(RecordType.HELLO, bytes(hello))) == "tenant_signature"


@pytest.mark.parametrize("size", [0, 32, 95, 97])
def test_hello_of_another_size(size: int, tenant: Tenant) -> None:
    hello = tenant.hello().ljust(97, b"\0")[:size]
    assert tenant.refusal(tenant.message + tenant.seal(RecordType.HELLO, hello)) == "record_payload"


# Records.

TYPES = [kind for kind in (0, *RecordType, 0x17, 0x80, 0xFF) if kind != RecordType.PACKAGE]


@pytest.mark.parametrize("kind", ["snp"])
@pytest.mark.parametrize("record", TYPES)
def test_a_record_out_of_place(record: int, tenant: Tenant) -> None:
    assert tenant.refusal(tenant.greet() + tenant.seal(record, b"x" * 96)) == "record_type"


def test_an_empty_package_record(tenant: Tenant) -> None:
    assert tenant.refusal(tenant.greet() + tenant.seal(RecordType.PACKAGE, b"")) == "record_payload"


def test_a_record_behind_the_package(tenant: Tenant) -> None:
    message = tenant.greet() + tenant.seal(RecordType.PACKAGE, package())
    message += tenant.seal(RecordType.STDIN, b"early")
    assert tenant.refusal(message) == "package_excess"


def test_input_that_nobody_asked_for(tenant: Tenant) -> None:
    step = tenant.say(tenant.greet() + tenant.seal(RecordType.PACKAGE, package()))
    assert isinstance(step, Exchange)
    assert [kind for kind, _ in tenant.opener.open_message(step.outgoing)] == [RecordType.LAUNCHED]
    assert tenant.refusal(tenant.seal(RecordType.STDIN, b"early")) == "record_type"


LENGTHS = [0, 1, 15, 16, 255, 256, 271, 273, 65_536, 65_553, 65_808, 0x7FFF_FFFF, 0xFFFF_FFF0, 0xFFFF_FFFF]


@pytest.mark.parametrize("kind", ["snp"])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_length_that_no_record_has(length: int, tenant: Tenant) -> None:
    greeting, record = tenant.greet(), tenant.seal(RecordType.PACKAGE, bytes(65_000))
    assert tenant.refusal(greeting + LENGTH.pack(length) + record[4:]) == "record_length"


@pytest.mark.parametrize("size", [1, 3, 4, 100, 271])
def test_a_record_cut_short(size: int, tenant: Tenant) -> None:
    greeting, record = tenant.greet(), tenant.seal(RecordType.PACKAGE, b"x")
    assert tenant.refusal(greeting + record[:size]) == "record_length"


def test_a_length_that_is_another_records(tenant: Tenant) -> None:
    """The length is additional data: a record cannot be cut to another valid length."""
    greeting, record = tenant.greet(), tenant.seal(RecordType.PACKAGE, bytes(500))
    assert tenant.refusal(greeting + LENGTH.pack(272) + record[4:276]) == "record_authentication"


@pytest.mark.parametrize("at", [4, 8, 12, 200, -17, -16, -1])
def test_an_altered_record(at: int, tenant: Tenant) -> None:
    greeting, record = tenant.greet(), bytearray(tenant.seal(RecordType.PACKAGE, b"x"))
    record[at] ^= 0x40
    assert tenant.refusal(greeting + bytes(record)) == "record_authentication"


ORDERS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "repeated": lambda records: [records[0], records[0], *records[1:]],
    "dropped": lambda records: records[1:],
    "swapped": lambda records: [records[1], records[0], *records[2:]],
}


@pytest.mark.parametrize("name", ORDERS)
def test_records_in_another_order(name: str, tenant: Tenant) -> None:
    greeting = tenant.greet()
    whole = package()
    records = [tenant.seal(RecordType.PACKAGE, part) for part in (whole[:100], whole[100:300], whole[300:])]
    assert tenant.refusal(greeting + b"".join(ORDERS[name](records))) == "record_authentication"


def test_hello_repeated(tenant: Tenant) -> None:
    hello = tenant.seal(RecordType.HELLO, tenant.hello())
    assert tenant.refusal(tenant.message + hello + hello) == "record_authentication"


def test_the_keeps_own_record_sent_back(tenant: Tenant) -> None:
    step = tenant.say(tenant.greet() + tenant.seal(RecordType.PACKAGE, package()))
    assert isinstance(step, Exchange)
    list(tenant.opener.open_message(step.outgoing))
    assert tenant.refusal(step.outgoing) == "record_authentication"


def plaintext(kind: int, reserved: bytes, length: int, payload: bytes, size: int) -> bytes:
    return (struct.pack("<B3sI", kind, reserved, length) + payload).ljust(size, b"\0")


PADDINGS = {
    "reserved byte": plaintext(2, b"\1\0\0", 1, b"x", 256),
    "last reserved byte": plaintext(2, b"\0\0\1", 1, b"x", 256),
    "length past the record": plaintext(2, bytes(3), 249, b"x", 256),
    "length of 2^32 - 1": plaintext(2, bytes(3), 0xFFFF_FFFF, b"x", 256),
    "padding not zero": plaintext(2, bytes(3), 1, b"xy", 256),
    "last byte of padding": plaintext(2, bytes(3), 1, b"x", 255) + b"\1",
    "padding of a whole unit": plaintext(2, bytes(3), 1, b"x", 512),
    "empty and padded": plaintext(2, bytes(3), 0, b"", 512),
}


@pytest.mark.parametrize("kind", ["snp"])
@pytest.mark.parametrize("name", PADDINGS)
def test_padding(name: str, tenant: Tenant) -> None:
    greeting = tenant.greet()
    text = PADDINGS[name]
    prefix = LENGTH.pack(len(text) + 16)
    sealer = tenant.sealer
    sealed = prefix + sealer._cipher.encrypt(sealer._next_nonce(), text, prefix)
    assert tenant.refusal(greeting + sealed) == "record_padding"


def test_a_package_in_pieces_of_every_size(tenant: Tenant) -> None:
    """Records and messages are cut anywhere; the program is the same."""
    whole = package()
    step = tenant.say(tenant.greet())
    at, size = 0, 1
    while at < len(whole):
        message = b""
        for _ in range(3):
            piece = whole[at : at + size]
            if piece:
                message += tenant.seal(RecordType.PACKAGE, piece)
            at += size
            size = size * 5 % 97 + 1
        assert isinstance(step, Exchange)
        assert not step.outgoing
        step = tenant.say(message)
    assert isinstance(step, Exchange)
    assert [kind for kind, _ in tenant.opener.open_message(step.outgoing)] == [RecordType.LAUNCHED]
    tenant.machine.close()


def test_two_keeps_never_share_a_key(machine_of: MachineOf) -> None:
    """The same tenant, nonce and secret, relayed to two keeps: keys and salts of the keeps differ."""
    one, other = Tenant(machine_of), Tenant(machine_of)
    for first, second in (
        (one.offer.receiving_key, other.offer.receiving_key),
        (one.offer.receipt_key, other.offer.receipt_key),
        (one.offer.keep_salt, other.offer.keep_salt),
    ):
        assert first != second
    one.machine.close()
    other.machine.close()
