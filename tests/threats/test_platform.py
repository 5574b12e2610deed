"""Who the platform is: a counterfeit without a secure processor, and one that somebody else owns."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.evidence.sev_forge import SevForge
from tests.machines import machine
from tests.simulator.driving import run
from tests.simulator.sev.bench import OwnerAuthority
from tests.threats.bare import (
    EMULATED_SEV,
    STRICT,
    Tenant,
    authenticated,
    certificates,
    image,
    measured,
    new_key,
    opened,
    page,
    trusted,
)
from wasmkeep.evidence.errors import Rejected
from wasmkeep.evidence.sev import certificate, packet, session
from wasmkeep.evidence.sev.chain import PlatformCertificates, key_digest
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, launch_digest, measure, verify_measurement

SECRET = b"what the counterfeit machine is after"
CODE = image(b"\xf4")
VERSION = 1, 55, 40


class CounterfeitMachine:
    """Software that answers as a machine would. Every key is its own, and every signature verifies."""

    def __init__(self) -> None:
        ark, ask = (rsa.generate_private_key(65537, 4096) for _ in range(2))
        self._forge = SevForge(ark, ask, *(new_key() for _ in range(4)))
        self.certificates = self._forge.certificates
        self.pin = self._forge.pin

    def launched(self, given: tuple[bytes, bytes], policy: int, digest: bytes) -> LaunchMeasurement:
        """It "launches" whatever was asked for: all of its keys are its own, and so the tenant's are."""
        owner = certificate.parse(given[0], "owner").public_key
        shared = session.shared_secret(self._forge.pdh, owner)
        self._keys = session.open_session(session.LaunchSession.parse(given[1]), shared, policy)
        mnonce = os.urandom(16)
        return LaunchMeasurement(measure(self._keys.tik, *VERSION, policy, digest, mnonce), mnonce)

    def injected(self, sealed: packet.SecretPacket, measurement: LaunchMeasurement) -> bytes:
        return packet.open_secret(self._keys, sealed, measurement.measure)


def test_a_counterfeit_machine() -> None:
    """Who asks nobody for the root gives it every secret; who pins a root gives it nothing, not even keys."""
    counterfeit, tenant, policy = CounterfeitMachine(), Tenant(), int(STRICT)
    digest = launch_digest(CODE.values())

    believed = authenticated(counterfeit.certificates, counterfeit.pin)
    answer = counterfeit.launched(tenant.session(believed, policy), policy, digest)
    launch = verify_measurement(tenant.keys.tik, answer, *VERSION, policy, [digest])
    assert counterfeit.injected(tenant.sealed(page(SECRET), launch), answer) == page(SECRET)

    with pytest.raises(Rejected) as refused:
        authenticated(counterfeit.certificates, machine().root)
    assert refused.value.check == "sev.root"

    # Nor does it help to borrow a genuine machine's certificates: what it needs is the PDH's private key.
    async def genuine() -> PlatformCertificates:
        async with opened(machine()) as platform:
            return await certificates(platform, machine())

    real = run(genuine())
    own_pdh = replace(real, pdh=counterfeit.certificates.pdh)
    own_pek = replace(own_pdh, pek=counterfeit.certificates.pek)
    for mixed, check in ((own_pdh, "sev.chain.pdh"), (own_pek, "sev.chain.pek")):
        with pytest.raises(Rejected) as refused:
            authenticated(mixed, machine().root)
        assert refused.value.check == check
    for_the_real_one = tenant.session(authenticated(real, machine().root), policy)
    with pytest.raises(session.SessionRefused):
        counterfeit.launched(for_the_real_one, policy, digest)


def test_an_owner_ca_that_is_not_ours() -> None:
    """A stranger takes the machine by PEK_CERT_IMPORT, or only pretends to. Who names no owner launches
    there, and the stranger's domain is where its guests may be sent; who names one does not.
    """
    ours, stranger = OwnerAuthority(), OwnerAuthority()
    owned = machine(name="tests-owned")

    async def taken_by(owner: OwnerAuthority) -> PlatformCertificates:
        async with opened(owned) as platform:
            await platform.factory_reset()
            pek = owner.sign(certificate.parse(await platform.pek_csr(), "PEK"))
            await platform.pek_cert_import(pek.encode(), owner.certificate.encode())
            return await certificates(platform, owned)

    async def launches() -> None:
        tenant = Tenant()
        async with trusted(owned) as on, measured(on, EMULATED_SEV, tenant, CODE) as (_, answer):
            await tenant.proven(on.platform, answer, int(STRICT), CODE, EMULATED_SEV)

    pinned = frozenset((key_digest(ours.certificate),))
    theirs = run(taken_by(stranger))
    assert authenticated(theirs, owned.root).oca_digest == key_digest(stranger.certificate)
    run(launches())
    with pytest.raises(Rejected) as refused:
        authenticated(theirs, owned.root, owners=pinned)
    assert refused.value.check == "sev.owner"

    mine = run(taken_by(ours))
    assert authenticated(mine, owned.root, owners=pinned).oca_digest in pinned
    # Our OCA's certificate is no secret. In front of a PEK that it did not sign it is worth nothing.
    with pytest.raises(Rejected) as refused:
        authenticated(replace(theirs, oca=mine.oca), owned.root, owners=pinned)
    assert refused.value.check == "sev.chain.pek"
