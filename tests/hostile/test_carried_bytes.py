"""A host that alters, drops, repeats or reorders what it carries: never a result, never a byte believed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest

from tests.hostile.lying_host import Liar, deploy_to_liar
from wasmkeep.errors import WasmkeepError

OFFER = {
    "version": 0,
    "receiving key, ML-KEM": 4 + 700,
    "receiving key, X25519": 4 + 1184 + 5,
    "receipt key": 1220 + 3,
    "keep salt": 1252 + 9,
    "length of the evidence": 1284,
    **{
        f"report, {name}": 1288 + offset
        for name, offset in {
            "version": 0,
            "guest SVN": 4,
            "policy": 8,
            "family id": 0x10,
            "image id": 0x20,
            "VMPL": 0x30,
            "signature algorithm": 0x34,
            "current TCB": 0x38,
            "platform info": 0x40,
            "key info": 0x48,
            "report data": 0x50,
            "measurement": 0x90,
            "host data": 0xC0,
            "ID key digest": 0xE0,
            "author key digest": 0x110,
            "report id": 0x140,
            "report id of a migration agent": 0x160,
            "reported TCB": 0x180,
            "CPUID": 0x188,
            "reserved": 0x18B,
            "chip id": 0x1A0,
            "committed TCB": 0x1E0,
            "versions": 0x1E8,
            "launch TCB": 0x1F0,
            "signature r": 0x2A0,
            "signature s": 0x2E8,
            "end of the signature": 0x49F,
        }.items()
    },
}
HPKE = 1168
DELIVERY = {
    "encapsulation, ML-KEM": 500,
    "encapsulation, X25519": 1088 + 7,
    "sealed secret": 1120 + 3,
    "HPKE tag": 1152 + 1,
    "length of HELLO": HPKE,
    "HELLO": HPKE + 4 + 40,
    "tag of HELLO": HPKE + 4 + 256 + 2,
    "length of the package's first record": HPKE + 276,
    "package": HPKE + 276 + 4 + 500,
    "the last byte": -1,
}
ANSWER = {"length": 0, "sealed": 30, "somewhere later": 400, "the last byte": -1}


def flipped(message: bytes, position: int) -> bytes:
    altered = bytearray(message)
    altered[position] ^= 0x10
    return bytes(altered)


class Altering(Liar):
    """Changes one message, by its place in the order of its direction."""

    def __init__(
        self,
        change: Callable[[bytes], Sequence[bytes]],
        *,
        to_tenant: int | None = None,
        to_keep: int | None = None,
    ) -> None:
        super().__init__()
        self._change = change
        self._to_tenant, self._to_keep = to_tenant, to_keep

    def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
        return self._change(message) if index == self._to_tenant else (message,)

    def alter_to_keep(self, index: int, message: bytes) -> Sequence[bytes]:
        return self._change(message) if index == self._to_keep else (message,)


def test_an_honest_host_serves() -> None:
    liar = Liar()
    result = deploy_to_liar(liar)
    assert result.error is None
    assert result.outcome is not None
    assert (result.outcome.exit_code, result.stdout) == (0, b"7\n")
    assert len(liar.from_keep) >= 3, "offer, launch statement, output and receipt"


@pytest.mark.parametrize("name", OFFER)
def test_an_altered_offer_is_refused_and_nothing_is_sent(name: str) -> None:
    liar = Altering(lambda message: (flipped(message, OFFER[name]),), to_tenant=0)
    result = deploy_to_liar(liar)
    if name == "keep salt":
        # The salt is not evidence: it enters the keys, so the keep's first record does not open.
        assert result.checks == {"session.authentication"}
        assert result.stdout == b""
        return
    assert result.error is not None
    assert not result.accepted_evidence
    assert liar.from_tenant == []


@pytest.mark.parametrize("name", DELIVERY)
def test_an_altered_delivery_is_refused_by_the_keep_and_nothing_runs(name: str) -> None:
    liar = Altering(lambda message: (flipped(message, DELIVERY[name]),), to_keep=0)
    result = deploy_to_liar(liar)
    assert result.error is not None
    assert result.error.exit_code in (72, 75, 78)
    assert result.stdout == b""
    assert not result.launched
    assert len(liar.from_keep) <= 2, "the offer, and perhaps a sealed refusal"


@pytest.mark.parametrize("message", [1, 2])
@pytest.mark.parametrize("name", ANSWER)
def test_an_altered_answer_is_refused(name: str, message: int) -> None:
    def change(original: bytes) -> Sequence[bytes]:
        position = min(ANSWER[name], len(original) - 1)
        return (flipped(original, position),)

    result = deploy_to_liar(Altering(change, to_tenant=message))
    assert result.error is not None
    assert result.error.check.startswith("session.")
    assert result.outcome is None


def cut(message: bytes) -> Sequence[bytes]:
    return (message[: len(message) // 2],)


def without_end(message: bytes) -> Sequence[bytes]:
    return (message[:-1],)


def extended(message: bytes) -> Sequence[bytes]:
    return (message + b"\0",)


def twice(message: bytes) -> Sequence[bytes]:
    return (message, message)


def repeated_inside(message: bytes) -> Sequence[bytes]:
    return (message + message,)


def zeroed(message: bytes) -> Sequence[bytes]:
    return (bytes(len(message)),)


def dropped(message: bytes) -> Sequence[bytes]:
    return ()


CHANGES = [cut, without_end, extended, twice, repeated_inside, zeroed]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("change", CHANGES)
def test_no_other_shape_of_the_keeps_messages_gives_a_result(
    change: Callable[[bytes], Sequence[bytes]], place: int
) -> None:
    result = deploy_to_liar(Altering(change, to_tenant=place))
    assert result.outcome is None
    assert result.error is not None


@pytest.mark.parametrize("change", CHANGES)
def test_no_other_shape_of_the_delivery_runs(change: Callable[[bytes], Sequence[bytes]]) -> None:
    liar = Altering(change, to_keep=0)
    result = deploy_to_liar(liar)
    if change is twice:
        # A program that reads no input never sees the copy; its receipt vouches for what it was.
        assert result.error is None or result.stdout == b""
        return
    assert result.outcome is None
    assert result.stdout == b""


def test_output_that_is_dropped_is_missed() -> None:
    class Hiding(Liar):
        def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
            return () if index == 1 else (message,)

    result = deploy_to_liar(Hiding())
    assert result.checks & {"session.authentication", "session.incomplete", "session.stalled"}


def test_useful_output_without_a_receipt_is_no_result() -> None:
    class Cutting(Liar):
        """Lets output through and then says goodbye politely."""

        def alter_to_tenant(self, index: int, message: bytes) -> Sequence[bytes]:
            if index == 0:
                return (message,)
            first = 4 + struct.unpack_from("<I", message)[0]
            return (message[:first],) if index == 1 else ()

    result = deploy_to_liar(Cutting())
    assert result.outcome is None
    assert result.error is not None
    assert result.error.check in {"session.incomplete", "session.authentication"}


def test_an_error_names_check_and_way_out() -> None:
    result = deploy_to_liar(Altering(extended, to_tenant=1))
    assert isinstance(result.error, WasmkeepError)
    assert result.error.found
    assert result.error.required
    assert result.error.remedy
