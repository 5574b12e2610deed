"""Every real SEV chain, session, measurement and packet, and every fact that is known of it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from hashlib import sha256

import pytest

from tests.evidence.vectors import FOLDER, SEV_CHAINS, needs_vectors, sev_chain, sev_expected, sev_vectors
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.roots import AMD_ROOTS
from wasmkeep.evidence.sev import ca_certificate, certificate, chain, measurement, packet, session
from wasmkeep.evidence.sev.bits import GuestPolicy, GuestPolicyBit
from wasmkeep.evidence.sev.certificate import Algorithm, Usage
from wasmkeep.evidence.sev.measurement import LaunchMeasurement
from wasmkeep.evidence.sev.products import PRODUCTS, product_of_ask
from wasmkeep.evidence.sev.session import LaunchKeys

pytestmark = needs_vectors
LEGACY = FOLDER / "sev/naples-ark-legacy"


def unhex(entry: dict[str, object], *names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(str(entry[name])) for name in names)


@pytest.mark.parametrize("name", SEV_CHAINS)
def test_a_real_chain(name: str) -> None:
    expected = sev_expected()[f"{name}-chain"]
    certificates = sev_chain(name)
    platform = chain.authenticate(certificates, AMD_ROOTS)
    assert expected["chain_valid"]
    assert platform.generation == platform.root.product == name.capitalize()
    assert not platform.root.simulated
    assert platform.root.spki_sha256.hex() == expected["ark_spki_sha256"]
    for part in ("cek", "oca", "pek", "pdh"):
        parsed = certificate.parse(getattr(certificates, part), part)
        assert parsed.encode() == getattr(certificates, part)
        assert parsed.usage is Usage[part.upper()]
        assert ".".join(map(str, parsed.api_version)) == expected["firmware_api_version"][part]
    for part in ("ark", "ask"):
        authority = ca_certificate.parse(getattr(certificates, part), part)
        assert authority.encode() == getattr(certificates, part)
        assert authority.bits == expected["rsa_bits"]
        assert authority.key_id.hex() == expected[f"{part}_key_id"]
        assert authority.spki_sha256.hex() == expected[f"{part}_spki_sha256"]
    cek, pek = (certificate.parse(getattr(certificates, part), part) for part in ("cek", "pek"))
    rsa = Algorithm.RSA_SHA256 if expected["rsa_pss_hash"] == "sha256" else Algorithm.RSA_SHA384
    assert (cek.signers, cek.slots[0].algorithm) == ((Usage.ASK,), rsa)
    assert pek.signers == (Usage.OCA, Usage.CEK)


@pytest.mark.parametrize("product", ["Rome", "Genoa", "Turin"])
def test_roots_in_amds_own_format_are_the_pinned_ones(product: str) -> None:
    expected = sev_expected()["ca-roots"][product.lower()]
    folder = FOLDER / "sev/ca-roots"
    data = [(folder / f"{product.lower()}-{part}.cert").read_bytes() for part in ("ask", "ark")]
    ask, ark = ca_certificate.parse_pair(b"".join(data))
    assert (ask.encode(), ark.encode()) == tuple(data)
    assert ark.signed_by(ark)
    assert ask.signed_by(ark)
    assert not ark.signed_by(ask)
    assert ark.spki_sha256.hex() == expected["ark_spki_sha256"]
    assert ask.spki_sha256.hex() == expected["ask_spki_sha256"]
    assert AMD_ROOTS[ark.spki_sha256].product == product
    known = product_of_ask(ask.key_id)
    assert known is not None
    assert (known.name, known.bits, known.ark_key_id) == (product, ark.bits, ark.key_id)
    assert ark.key_id.hex() == expected["ark_key_id"]


def test_each_generation_has_one_root_and_one_entry() -> None:
    assert {root.product for root in AMD_ROOTS.values()} == {product.name for product in PRODUCTS}
    naples = sev_expected()["naples-chain"]
    known = product_of_ask(bytes.fromhex(naples["ask_key_id"]))
    assert known is not None
    assert (known.name, known.ark_key_id.hex()) == ("Naples", naples["ark_key_id"])


class TestTheLegacyNaplesArk:
    """576 bytes without a signature: only these very bytes count, under the pinned key."""

    def test_it_is_accepted_by_its_digest(self) -> None:
        data = (LEGACY / "ark-without-signature.cert").read_bytes()
        assert len(data) == sev_expected()["naples-ark-legacy"]["certificate_length"]
        parsed = ca_certificate.parse(data, "ARK")
        assert parsed.encode() == data
        assert not parsed.signed_by(parsed)
        platform = chain.authenticate(replace(sev_chain("naples"), ark=data), AMD_ROOTS)
        assert platform.generation == "Naples"

    def test_its_signature_has_circulated_apart(self) -> None:
        parsed = ca_certificate.parse((LEGACY / "ark-without-signature.cert").read_bytes(), "ARK")
        whole = replace(parsed, signature=(LEGACY / "ark-signature.bin").read_bytes())
        assert whole.signed_by(whole)
        assert whole.encode() == sev_chain("naples").ark

    @pytest.mark.parametrize("at", [4, 0x14, 0x3F0 - 0x200])
    def test_other_bytes_are_refused(self, at: int) -> None:
        data = bytearray((LEGACY / "ark-without-signature.cert").read_bytes())
        data[at] ^= 1
        with pytest.raises(Rejected) as caught:
            chain.authenticate(replace(sev_chain("naples"), ark=bytes(data)), AMD_ROOTS)
        assert caught.value.check == ("sev.chain.ark" if at < 0x40 else "sev.root")

    def test_so_is_another_generations_without_its_signature(self) -> None:
        ark = ca_certificate.parse(sev_chain("milan").ark, "ARK")
        with pytest.raises(Rejected) as caught:
            chain.authenticate(replace(sev_chain("milan"), ark=ark.body), AMD_ROOTS)
        assert caught.value.check == "sev.ca-certificate.size"


@pytest.mark.parametrize("identifier", sev_vectors("session"))
def test_sessions(identifier: str) -> None:
    entry = sev_vectors("session")[identifier]
    z, nonce, iv, tek, tik = unhex(entry["inputs"], "z", "nonce", "iv", "tek", "tik")
    policy = entry["inputs"]["policy"]
    made = session.wrap(z, policy, nonce=nonce, iv=iv, keys=LaunchKeys(tek, tik))
    wanted = unhex(entry["expected"], "wrap_tk", "wrap_mac", "policy_mac")
    assert (made.wrap_tk, made.wrap_mac, made.policy_mac) == wanted
    assert session.open_session(made, z, policy) == LaunchKeys(tek, tik)


@pytest.mark.parametrize("identifier", sev_vectors("launch-measurement"))
def test_launch_measurements(identifier: str) -> None:
    entry = sev_vectors("launch-measurement")[identifier]
    inputs, expected = entry["inputs"], entry["expected"]
    tik, digest, mnonce = unhex(inputs, "tik", "launch_digest", "mnonce")
    version = inputs["api_major"], inputs["api_minor"], inputs["build_id"]
    assert (
        measurement.measure(tik, *version, inputs["policy"], digest, mnonce).hex()
        == (expected["measurement_hmac"])
    )
    measured = LaunchMeasurement(bytes.fromhex(expected["measurement_hmac"]), mnonce)
    launch = measurement.verify_measurement(tik, measured, *version, inputs["policy"], [digest])
    assert launch.digest == digest
    assert launch.policy == GuestPolicy.decode(inputs["policy"])
    assert bool(launch.policy.bits & GuestPolicyBit.NODBG) == expected["policy_nodbg"]
    assert bool(launch.policy.bits & GuestPolicyBit.NOKS) == expected["policy_noks"]
    assert bool(launch.policy.bits & GuestPolicyBit.ES) == expected["policy_es"]


@pytest.mark.parametrize("identifier", sev_vectors("launch-secret"))
def test_launch_secrets(identifier: str) -> None:
    entry = sev_vectors("launch-secret")[identifier]
    inputs, expected = entry["inputs"], entry["expected"]
    tek, tik, iv, measure = unhex(inputs, "tek", "tik", "iv", "launch_measure")
    keys = LaunchKeys(tek, tik)
    table = packet.secret_table([(uuid.UUID(one["guid"]), one["data"].encode()) for one in inputs["secrets"]])
    assert uuid.UUID(inputs["secrets"][0]["guid"]) == packet.DISK_PASSPHRASE
    made = packet.seal_secret(keys, iv, table, measure)
    assert (made.header.hex(), made.data.hex()) == (expected["packet_header"], expected["packet_data"])
    assert packet.open_secret(keys, made, measure) == table


def test_the_digest_of_nothing() -> None:
    empty = sev_vectors("launch-measurement")["empty-digest-nodbg-clear"]["inputs"]["launch_digest"]
    assert measurement.EMPTY_DIGEST.hex() == empty == measurement.launch_digest([]).hex()
    assert sha256().digest() == measurement.EMPTY_DIGEST


def test_a_firmware_alone_measures_its_own_digest() -> None:
    """The image itself is not here; its digest, published apart, is what a plain SEV launch of it
    measures."""
    import json

    facts = json.loads((FOLDER / "sev/launch-digest/firmware-facts.json").read_text())
    entry = sev_vectors("launch-digest")["sev-no-kernel"]
    assert entry["expected"]["launch_digest"] == facts[entry["inputs"]["firmware"]]["sha256"]


def test_every_row_has_its_test() -> None:
    """A new row of SEV's in the index is noticed here."""
    tested = {f"{name}-chain" for name in SEV_CHAINS} | {"ca-roots", "naples-ark-legacy"}
    for kind in ("session", "launch-measurement", "launch-secret", "launch-digest"):
        tested |= {f"{kind}#{identifier}" for identifier in sev_vectors(kind)}
    assert set(sev_expected()) == tested
