"""A cloud's key: wrapped for one chip, loaded by its host, asked for by guests."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.simulator.bench import Bench, Channel, configuration
from tests.simulator.test_guest_messages import signature_holds
from tests.simulator.test_platform import by_frames
from wasmkeep.evidence.snp import report as verifier
from wasmkeep.hardware import psp_sev
from wasmkeep.hardware.calls import Call, IoctlRefused, Pointer, Result
from wasmkeep.hardware.psp_sev import SevCommand, SevUserDataSnpConfig, SevUserDataSnpVlekLoad
from wasmkeep.hardware.sev_status import FirmwareError, SevStatus
from wasmkeep.hardware.snp_messages import KeyRequest, KeyResponse, MessageStatus, MessageType
from wasmkeep.simulator.status import Refused
from wasmkeep.simulator.vlek import WRAPPED_SIZE, Hashstick, hashstick, unwrap, wrap

SEED = b"\x33" * 32
EITHER, VCEK, VLEK = 0, 1, 2


def sealed(bench: Bench, tcb: int | None = None) -> bytes:
    wanted = bench.settings.current_tcb if tcb is None else tcb
    return wrap(hashstick(SEED, wanted), bench.chip.wrapping_key())


def loaded(**changes: object) -> Bench:
    bench = Bench(configuration(**changes))  # type: ignore[arg-type]  # named fields
    bench.processor.snp_vlek_load(sealed(bench))
    return bench


def load_call(wrapped: bytes, *, length: int | None = None, version: int = 0) -> Call:
    size = ctypes.sizeof(SevUserDataSnpVlekLoad) if length is None else length
    request = bytes(SevUserDataSnpVlekLoad(len=size, vlek_wrapped_version=version))
    address = SevUserDataSnpVlekLoad.vlek_wrapped_address.offset
    return psp_sev.issue(
        "SNP_VLEK_LOAD", SevCommand.SNP_VLEK_LOAD, request, wrapped, pointers=(Pointer(1, address, 2),)
    )


def perform(bench: Bench, call: Call) -> None:
    psp_sev.check(call, by_frames(bench, call))


def signing_key(report: bytes) -> int:
    return verifier.parse(report).signing_key


def test_a_host_loads_a_key_and_the_platform_says_so() -> None:
    bench = Bench()
    perform(bench, load_call(sealed(bench)))
    status = psp_sev.decode_status(
        psp_sev.check(psp_sev.snp_platform_status(), by_frames(bench, psp_sev.snp_platform_status()))
    )
    assert status.vlek_loaded


@pytest.mark.parametrize(
    ("key_select", "signer"),
    [(EITHER, verifier.SigningKey.VLEK), (VCEK, 0), (VLEK, verifier.SigningKey.VLEK)],
)
@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_a_guest_chooses_who_signs(product: str, key_select: int, signer: int) -> None:
    bench = loaded(product=product)
    raw = Channel(bench, bench.running()).report(key_select=key_select).report
    tcb = bench.settings.reported_tcb
    own = hashstick(SEED, tcb).key() if signer else bench.chip.vcek(tcb)
    assert signing_key(raw) == signer
    assert signature_holds(raw, own.public_key())


def test_without_a_loaded_key_the_chips_own_signs() -> None:
    bench = Bench()
    asking = Channel(bench, bench.running())
    assert signing_key(asking.report(key_select=EITHER).report) == verifier.SigningKey.VCEK
    assert asking.report(key_select=VLEK).status == MessageStatus.INVALID_KEY


def test_an_owner_who_forbids_the_chips_key_still_gets_the_clouds() -> None:
    bench = loaded()
    asking = Channel(bench, bench.running(vcek_disabled=True))
    assert asking.report(key_select=VCEK).status == MessageStatus.INVALID_KEY
    assert signing_key(asking.report(key_select=EITHER).report) == verifier.SigningKey.VLEK
    assert signing_key(asking.report(key_select=VLEK).report) == verifier.SigningKey.VLEK
    assert asking.report(key_select=3).status == MessageStatus.INVALID_PARAM


def test_masking_the_chips_key_does_not_mask_the_clouds() -> None:
    bench = loaded(mask_chip_key=True, mask_chip_id=True)
    asking = Channel(bench, bench.running())
    by_cloud = verifier.parse(asking.report(key_select=EITHER).report)
    assert (by_cloud.signing_key, by_cloud.mask_chip_key) == (verifier.SigningKey.VLEK, True)
    assert by_cloud.chip_id_masked
    unsigned = verifier.parse(asking.report(key_select=VCEK).report)
    assert (unsigned.signing_key, unsigned.signature_r) == (verifier.SigningKey.NONE, 0)


def test_the_key_is_that_of_the_reported_tcb_and_goes_when_it_changes() -> None:
    facts = configuration()
    older = facts.current_tcb - (1 << 56)
    bench = Bench(replace(facts, reported_tcb=older))
    bench.processor.snp_vlek_load(sealed(bench))  # of the current TCB, which is higher
    asking = Channel(bench, bench.running())
    raw = asking.report(key_select=VLEK).report
    assert signature_holds(raw, hashstick(SEED, older).key().public_key())
    bench.processor.snp_config(SevUserDataSnpConfig(reported_tcb=older))  # no change
    assert asking.report(key_select=VLEK).status == MessageStatus.SUCCESS
    bench.processor.snp_config(SevUserDataSnpConfig(reported_tcb=0))
    assert asking.report(key_select=VLEK).status == MessageStatus.INVALID_KEY
    assert signing_key(asking.report(key_select=EITHER).report) == verifier.SigningKey.VCEK
    bench.processor.snp_vlek_load(sealed(bench))
    assert signing_key(asking.report(key_select=EITHER).report) == verifier.SigningKey.VLEK


def test_the_clouds_key_is_a_root_of_derived_keys() -> None:
    bench = loaded()
    asking = Channel(bench, bench.running())

    def derived(key_select: int) -> bytes:
        payload = KeyRequest(key_select=key_select).encode()
        answer = KeyResponse.parse(asking.ask(MessageType.KEY_REQ, payload))
        assert answer.status == MessageStatus.SUCCESS
        return answer.key

    assert derived(EITHER) == derived(VLEK) != derived(VCEK)


def flipped(wrapped: bytes, at: int) -> bytes:
    return wrapped[:at] + bytes((wrapped[at] ^ 1,)) + wrapped[at + 1 :]


SPOILT: dict[str, tuple[Callable[[Bench], bytes], SevStatus]] = {
    "for another chip": (
        lambda bench: sealed(Bench(bench.settings, b"\x55" * 32)),
        SevStatus.BAD_MEASUREMENT,
    ),
    "iv": (lambda bench: flipped(sealed(bench), 0x000), SevStatus.BAD_MEASUREMENT),
    "contents": (lambda bench: flipped(sealed(bench), 0x010), SevStatus.BAD_MEASUREMENT),
    "TCB": (lambda bench: flipped(sealed(bench), 0x197), SevStatus.BAD_MEASUREMENT),
    "tag": (lambda bench: flipped(sealed(bench), 0x1AF), SevStatus.BAD_MEASUREMENT),
    "first reserved": (lambda bench: flipped(sealed(bench), 0x00C), SevStatus.INVALID_PARAM),
    "second reserved": (lambda bench: flipped(sealed(bench), 0x19F), SevStatus.INVALID_PARAM),
    "of a lower TCB": (
        lambda bench: sealed(bench, bench.settings.reported_tcb - (1 << 56)),
        SevStatus.INVALID_PARAM,
    ),
    "of no TCB": (
        lambda bench: sealed(bench, bench.settings.reported_tcb | 1 << 32),
        SevStatus.INVALID_PARAM,
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_hashstick_is_refused_and_the_one_before_stays(name: str) -> None:
    spoil, status = SPOILT[name]
    bench = loaded()
    with pytest.raises(FirmwareError) as refused:
        perform(bench, load_call(spoil(bench)))
    assert refused.value.status == status
    raw = Channel(bench, bench.running()).report(key_select=VLEK).report
    assert signature_holds(raw, hashstick(SEED, bench.settings.reported_tcb).key().public_key())


@pytest.mark.parametrize(
    ("changes", "number"),
    [({"length": 15}, errno.EINVAL), ({"version": 1}, errno.EINVAL)],
    ids=["length", "version"],
)
def test_what_the_kernel_refuses_itself(changes: dict[str, int], number: int) -> None:
    bench = Bench()
    call = load_call(sealed(bench), **changes)
    result = by_frames(bench, call)
    assert result.value == -number
    with pytest.raises(IoctlRefused):
        psp_sev.check(call, Result(result.value, result.memory))


def test_half_a_hashstick_is_not_read() -> None:
    bench = Bench()
    assert by_frames(bench, load_call(sealed(bench)[: WRAPPED_SIZE // 2])).value == -errno.EFAULT


def test_a_processor_without_snp_loads_none() -> None:
    with pytest.raises(Refused) as refused:
        Bench(configuration("genoa")).processor.snp_vlek_load(b"")
    assert refused.value.status is SevStatus.INVALID_PARAM


def test_a_hashstick_goes_down_and_never_up() -> None:
    high = hashstick(SEED, 0x55_17_0000_0000_00_0A)
    low = 0x54_16_0000_0000_00_09
    assert high.lowered(low) == hashstick(SEED, low)
    assert high.lowered(high.tcb) == high
    for byte in range(8):
        with pytest.raises(ValueError, match="higher TCB"):
            high.lowered(high.tcb + (1 << 8 * byte))
    assert repr(high) == "Hashstick(tcb=0x551700000000000a)"
    assert unwrap(wrap(high, SEED), SEED) == Hashstick(high.tcb, high.sticks)
