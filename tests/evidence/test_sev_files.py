"""SEV's certificates as they lie in files, and what they say in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evidence.sev_forge import SevForge
from wasmkeep.evidence import Rejected
from wasmkeep.evidence.sev import ca_certificate, certificate
from wasmkeep.evidence.sev.certificate import EMPTY_SLOT, Algorithm, Certificate, Usage, rsa_key_bytes
from wasmkeep.evidence.sev.explain import explain_certificate, explain_launch, title
from wasmkeep.evidence.sev.files import AnyCertificate, assemble, is_certificates, parse_all


def everything(sev_forge: SevForge) -> list[AnyCertificate]:
    chain = sev_forge.certificates
    files = (chain.pek + chain.oca + chain.cek, chain.pdh, chain.ask + chain.ark)
    assert all(is_certificates(data) for data in files)
    return [one for data in files for one in parse_all(data)]


def test_a_chain_from_its_files(sev_forge: SevForge) -> None:
    found = everything(sev_forge)
    assert [one.label for one in found] == ["PEK", "OCA", "CEK", "PDH", "ASK", "ARK"]
    assert assemble(found) == (sev_forge.certificates, ())
    assert assemble(reversed(found)) == (sev_forge.certificates, ())
    assert assemble(found + found) == (sev_forge.certificates, ())
    assert [parse_all(one.encode()) for one in found] == [(one,) for one in found]


def test_what_is_missing_or_there_twice(sev_forge: SevForge, other_sev: SevForge) -> None:
    found = everything(sev_forge)
    for one in found:
        assert assemble([other for other in found if other is not one]) == (None, (one.label,))
    assert assemble([]) == (None, ("ARK", "ASK", "CEK", "PEK", "OCA", "PDH"))
    two = [*found, certificate.parse(other_sev.certificates.pdh, "PDH")]
    assert assemble(two) == (None, ("PDH",))


def test_of_two_ceks_the_one_that_amd_signed_counts(sev_forge: SevForge) -> None:
    found = everything(sev_forge)
    cek = certificate.parse(sev_forge.certificates.cek, "CEK")
    exported = replace(cek, slots=(EMPTY_SLOT, EMPTY_SLOT))
    for order in ([exported, *found], [*found, exported]):
        assert assemble(order) == (sev_forge.certificates, ())


@pytest.mark.parametrize("data", [b"", b"\1\0\0\0", b"\2\0\0\0" + bytes(2080), bytes(832), b"{}"])
def test_what_is_no_file_of_certificates(data: bytes) -> None:
    assert not is_certificates(data)


def test_a_file_of_the_right_size_and_nothing_else() -> None:
    for size in (576, 832, 1600, 1664, 2084, 3200, 6252):
        data = b"\1\0\0\0" + bytes(size - 4)
        assert is_certificates(data)
        with pytest.raises(Rejected):
            parse_all(data)


def words(one: AnyCertificate) -> dict[str, str]:
    return {line.name: f"{line.value} {line.meaning}".strip() for line in explain_certificate(one)}


def test_certificates_in_words(sev_forge: SevForge) -> None:
    chain = sev_forge.certificates
    ark = ca_certificate.parse(chain.ark, "ARK")
    assert title(ark).startswith("ARK: AMD root key")
    said = words(ark)
    assert said["key id"].endswith("the id of Genoa's")
    assert said["certifying key id"].endswith("its own")
    assert said["key digest"].startswith(sev_forge.pin)
    assert words(replace(ark, key_id=bytes(16), signature=b"")) == said | {
        "key id": f"{bytes(16).hex()} no id of AMD's",
        "certifying key id": ark.certifying_key_id.hex(),
        "signature": "0 bytes none: the legacy Naples ARK",
    }
    pek = words(certificate.parse(chain.pek, "PEK"))
    assert pek["signature 1"] == "by the OCA, ECDSA with SHA-256"
    assert pek["signature 2"] == "by the CEK, ECDSA with SHA-256"
    key = rsa_key_bytes(sev_forge.ask.public_key())
    owner = words(Certificate(0, 0, Usage.OCA, Algorithm.RSA_SHA384, key))
    assert owner["API version"] == "0.0 an owner's tool made it"
    assert owner["key"] == "RSA-4096, RSA with SHA-384"
    assert owner["signature 1"] == owner["signature 2"] == "empty"
    assert owner["key digest"].endswith("policies name an owner by it")


def test_a_launch_in_words(sev_forge: SevForge) -> None:
    lines = {line.name: line for line in explain_launch(sev_forge.evidence())}
    assert lines["firmware"].value == "1.55.40"
    assert lines["policy"].meaning == (
        "debug NOT allowed · key sharing NOT allowed · SEV-ES required · sending NOT allowed · API ≥ 0.24"
    )
    assert len(lines["measure"].value) == 64
    open_launch = replace(sev_forge.evidence("sev"), policy=0x30 | 0x8000)
    assert {line.name: line for line in explain_launch(open_launch)}["policy"].meaning == (
        "debug allowed · key sharing allowed · registers visible · sending allowed · "
        "only within its owner's domain · only to genuine SEV platforms · API ≥ 0.0 · unknown bits 0x8000"
    )
