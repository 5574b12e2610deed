"""SEV chains under a root of the tests' own: what is accepted, and each wrong way to make one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.evidence.sev_forge import SevForge, sign, signed
from tests.evidence.test_sev_chain import refusal
from tests.evidence.vectors import needs_vectors, sev_chain
from wasmkeep.evidence import Policy, Rejected
from wasmkeep.evidence.errors import Kind
from wasmkeep.evidence.sev import ca_certificate, certificate
from wasmkeep.evidence.sev.certificate import (
    EMPTY_SLOT,
    Algorithm,
    Certificate,
    SignatureSlot,
    Usage,
    ec_key_bytes,
    rsa_key_bytes,
)
from wasmkeep.evidence.sev.chain import authenticate
from wasmkeep.evidence.sev.products import PRODUCTS
from wasmkeep.evidence.snp import signatures


class TestAForgedPlatform:
    """Chains under the tests' own root: one thing wrong, everything else signed again."""

    def test_what_is_right(self, sev_forge: SevForge) -> None:
        platform = authenticate(sev_forge.certificates, sev_forge.policy().roots)
        assert (platform.generation, platform.api_version) == ("Genoa", (1, 55))
        assert platform.root.simulated
        assert platform.root.pin == sev_forge.pin
        assert platform.oca_digest == sev_forge.oca_digest
        assert platform.pdh.encode() == sev_forge.certificates.pdh

    @pytest.mark.parametrize("product", [product.name for product in PRODUCTS if product.bits == 4096])
    def test_a_simulators_generation_is_what_its_signed_key_ids_say(
        self, sev_forge: SevForge, product: str
    ) -> None:
        ark, ask = sev_forge.authorities(product)
        certificates = replace(sev_forge.certificates, ark=ark, ask=ask)
        assert authenticate(certificates, sev_forge.policy().roots).generation == product

    def test_key_ids_that_name_no_generation(self, sev_forge: SevForge) -> None:
        milan, genoa = sev_forge.authorities("Milan"), sev_forge.authorities("Genoa")
        mixed = ca_certificate.parse(genoa[1], "ASK")
        ark = ca_certificate.parse(milan[0], "ARK")
        ask = ca_certificate.issue(Usage.ASK, mixed.key, mixed.key_id, ark.key_id, sev_forge.ark)
        naples = sev_forge.authorities("Naples")  # RSA-4096 under Naples' ids
        for pair in ((milan[0], ask.encode()), naples):
            certificates = replace(sev_forge.certificates, ark=pair[0], ask=pair[1])
            error = refusal(certificates, sev_forge.policy())
            assert (error.check, error.kind) == ("sev.product", Kind.UNSUPPORTED)

    def test_a_root_that_is_not_pinned(self, sev_forge: SevForge, other_sev: SevForge) -> None:
        for policy in (other_sev.policy(), Policy.default()):
            error = refusal(sev_forge.certificates, policy)
            assert error.check == "sev.root"
            assert error.found == sev_forge.pin

    @needs_vectors
    def test_an_amd_platform_under_a_simulators_pin(self, sev_forge: SevForge) -> None:
        assert refusal(sev_chain("milan"), sev_forge.policy()).check == "sev.root"

    def test_an_owner_that_is_not_ours(self, sev_forge: SevForge, other_sev: SevForge) -> None:
        roots = sev_forge.policy().roots
        ours = {sev_forge.oca_digest}
        assert authenticate(sev_forge.certificates, roots, ours).oca_digest in ours
        for none in (None, frozenset[bytes]()):
            assert authenticate(sev_forge.certificates, roots, none)
        with pytest.raises(Rejected) as caught:
            authenticate(sev_forge.certificates, roots, {other_sev.oca_digest})
        assert (caught.value.check, caught.value.kind) == ("sev.owner", Kind.REFUSED)
        assert caught.value.found == sev_forge.oca_digest.hex()

    def test_an_owner_with_an_rsa_key(self, sev_forge: SevForge) -> None:
        for key in (sev_forge.ask, small_key()):
            algorithm = Algorithm.RSA_SHA384 if key.key_size == 4096 else Algorithm.RSA_SHA256
            unsigned = Certificate(0, 0, Usage.OCA, algorithm, rsa_key_bytes(key.public_key()))
            oca = sign(unsigned, {Usage.OCA: key})
            assert certificate.parse(oca.encode(), "OCA") == oca
            pek = signed(Usage.PEK, sev_forge.pek, {Usage.CEK: sev_forge.cek, Usage.OCA: key})
            certificates = replace(sev_forge.certificates, oca=oca.encode(), pek=pek)
            assert authenticate(certificates, sev_forge.policy().roots)
            with pytest.raises(Rejected) as caught:
                _ = oca.public_key
            assert caught.value.check == "sev.certificate.algorithm"
            wrong = replace(oca, algorithm=Algorithm.ECDSA_SHA256)
            assert refusal(replace(certificates, oca=wrong.encode()), sev_forge.policy()).check == (
                "sev.certificate.key"
            )

    def test_rsa_keys_are_for_owners_only(self, sev_forge: SevForge) -> None:
        body = Certificate(1, 55, Usage.PEK, Algorithm.RSA_SHA384, rsa_key_bytes(sev_forge.ask.public_key()))
        pek = sign(body, {Usage.OCA: sev_forge.oca, Usage.CEK: sev_forge.cek})
        error = refusal(replace(sev_forge.certificates, pek=pek.encode()), sev_forge.policy())
        assert error.check == "sev.certificate.algorithm"

    @pytest.mark.parametrize("part", ["cek", "pek", "oca", "pdh"])
    def test_wrong_missing_and_surplus_signers(
        self, sev_forge: SevForge, other_sev: SevForge, part: str
    ) -> None:
        forge, policy = sev_forge, sev_forge.policy()
        signers: dict[str, dict[Usage, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]] = {
            "cek": {Usage.ASK: forge.ask},
            "oca": {Usage.OCA: forge.oca},
            "pek": {Usage.OCA: forge.oca, Usage.CEK: forge.cek},
            "pdh": {Usage.PEK: forge.pek},
        }
        right = signers[part]
        one = certificate.parse(getattr(forge.certificates, part), part)
        wrong: list[Certificate] = [replace(one, slots=(EMPTY_SLOT, EMPTY_SLOT))]
        for usage in right:
            # another key, another usage's name, only this one, or the same one twice
            wrong.append(sign(one, right | {usage: getattr(other_sev, usage.name.lower())}))
            wrong.append(replace(one, slots=(one.slots[0], one.slots[0])))
        if part == "pek":
            wrong += [sign(one, {usage: key}) for usage, key in right.items()]
            wrong.append(sign(one, {Usage.OCA: forge.cek, Usage.CEK: forge.oca}))
        else:
            wrong.append(sign(one, right | {Usage.PEK if part == "oca" else Usage.OCA: forge.pek}))
            wrong.append(sign(one, {Usage.CEK: forge.cek}))
        for spoilt in wrong:
            error = refusal(replace(forge.certificates, **{part: spoilt.encode()}), policy)
            assert (error.check, error.kind) == (f"sev.chain.{part}", Kind.UNTRUSTED)

    @pytest.mark.parametrize("salt", [0, 20, 32, 47, 49, 64])
    def test_a_salt_of_another_size(self, sev_forge: SevForge, salt: int) -> None:
        scheme = padding.PSS(padding.MGF1(hashes.SHA384()), salt)

        def salted(key: rsa.RSAPrivateKey, body: bytes) -> bytes:
            return key.sign(body, scheme, hashes.SHA384())[::-1]

        certificates, policy = sev_forge.certificates, sev_forge.policy()
        ark, ask = (ca_certificate.parse(data, "CA") for data in (certificates.ark, certificates.ask))
        cek = certificate.parse(certificates.cek, "CEK")
        slot = SignatureSlot(Usage.ASK, Algorithm.RSA_SHA384, salted(sev_forge.ask, cek.body))
        for part, spoilt in (
            ("ark", replace(ark, signature=salted(sev_forge.ark, ark.body)).encode()),
            ("ask", replace(ask, signature=salted(sev_forge.ark, ask.body)).encode()),
            ("cek", replace(cek, slots=(slot, EMPTY_SLOT)).encode()),
        ):
            error = refusal(replace(certificates, **{part: spoilt}), policy)
            assert error.check == f"sev.chain.{part}"

    def test_another_hash(self, sev_forge: SevForge) -> None:
        """P-384 with SHA-384, and RSA-4096 with SHA-256, are not SEV's."""
        certificates, policy = sev_forge.certificates, sev_forge.policy()
        pdh = certificate.parse(certificates.pdh, "PDH")
        der = sev_forge.pek.sign(pdh.body, ec.ECDSA(hashes.SHA384()))
        encoded = signatures.encode_signature(der)
        slot = SignatureSlot(Usage.PEK, Algorithm.ECDSA_SHA256, encoded)
        spoilt = replace(pdh, slots=(slot, EMPTY_SLOT)).encode()
        assert refusal(replace(certificates, pdh=spoilt), policy).check == "sev.chain.pdh"
        cek = certificate.parse(certificates.cek, "CEK")
        slot = replace(cek.slots[0], algorithm=Algorithm.RSA_SHA256)
        spoilt = replace(cek, slots=(slot, EMPTY_SLOT)).encode()
        assert refusal(replace(certificates, cek=spoilt), policy).check == "sev.chain.cek"

    @pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (signatures.ORDER, 1)])
    def test_signature_numbers_out_of_range(self, sev_forge: SevForge, r: int, s: int) -> None:
        pdh = certificate.parse(sev_forge.certificates.pdh, "PDH")
        encoded = (r.to_bytes(72, "little") + s.to_bytes(72, "little")).ljust(512, b"\0")
        slot = SignatureSlot(Usage.PEK, Algorithm.ECDSA_SHA256, encoded)
        spoilt = replace(pdh, slots=(slot, EMPTY_SLOT)).encode()
        error = refusal(replace(sev_forge.certificates, pdh=spoilt), sev_forge.policy())
        assert error.check == "sev.chain.pdh"

    def test_a_point_that_is_not_on_the_curve_even_if_signed(self, sev_forge: SevForge) -> None:
        right = ec_key_bytes(sev_forge.pdh.public_key())
        prime = 2**384 - 2**128 - 2**96 + 2**32 - 1
        x = int.from_bytes(right[4:76], "little")
        keys = {
            "y changed": right[:76] + bytes([right[76] ^ 1]) + right[77:],
            "infinity": right[:4].ljust(1028, b"\0"),
            "x not reduced": right[:4] + (x + prime).to_bytes(72, "little") + right[76:],
            "another curve": b"\1" + right[1:],
            "padded": right[:-1] + b"\1",
        }
        for key in keys.values():
            pdh = sign(Certificate(1, 55, Usage.PDH, Algorithm.ECDH_SHA256, key), {Usage.PEK: sev_forge.pek})
            error = refusal(replace(sev_forge.certificates, pdh=pdh.encode()), sev_forge.policy())
            assert error.check == "sev.certificate.key"

    def test_an_ask_named_by_another_root(self, sev_forge: SevForge) -> None:
        ask = ca_certificate.parse(sev_forge.certificates.ask, "ASK")
        spoilt = ca_certificate.issue(Usage.ASK, ask.key, ask.key_id, bytes(16), sev_forge.ark).encode()
        assert (
            refusal(replace(sev_forge.certificates, ask=spoilt), sev_forge.policy()).check == "sev.chain.ask"
        )

    def test_a_counterfeit_machine(self, sev_forge: SevForge, other_sev: SevForge) -> None:
        """Everything but AMD's keys: a chain of one's own, with AMD's names and the genuine ARK and ASK."""
        forged = replace(
            other_sev.certificates, ark=sev_forge.certificates.ark, ask=sev_forge.certificates.ask
        )
        assert refusal(forged, sev_forge.policy()).check == "sev.chain.cek"


_SMALL: list[rsa.RSAPrivateKey] = []


def small_key() -> rsa.RSAPrivateKey:
    """RSA-2048, made once."""
    if not _SMALL:
        _SMALL.append(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    return _SMALL[0]


def test_a_simulated_naples_has_small_keys(sev_forge: SevForge) -> None:
    small = replace(sev_forge, ark=small_key(), ask=small_key())
    ark, ask = small.authorities("Naples")
    cek = signed(Usage.CEK, small.cek, {Usage.ASK: small.ask})
    certificates = replace(sev_forge.certificates, ark=ark, ask=ask, cek=cek)
    assert len(ark) == 832
    assert authenticate(certificates, small.policy().roots).generation == "Naples"
    genoa = small.authorities("Genoa")
    certificates = replace(certificates, ark=genoa[0], ask=genoa[1])
    assert refusal(certificates, small.policy()).check == "sev.product"
