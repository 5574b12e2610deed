"""Hosts that cheat, each in the one way that `cheats` names. They alter what is really sent or commanded.

A host knows every format, so these use `wasmkeep.evidence.sev` to forge what can be forged: keys and chains
of their own, never anybody else's signature.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from wasmkeep.demo.machine import BareGuest
from wasmkeep.demo.messages import Certificates, Launch, Measurement, Packet
from wasmkeep.demo.program import ADDRESS
from wasmkeep.demo.server import Host
from wasmkeep.evidence.sev import ca_certificate, certificate, session
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.certificate import EMPTY_SLOT, Algorithm, Certificate, SignatureSlot, Usage
from wasmkeep.evidence.sev.products import PRODUCTS
from wasmkeep.evidence.sev.session import LaunchKeys

__all__ = ["HOSTS"]

_ELSEWHERE = ADDRESS + 0x1000
_OWN_CODE = bytes.fromhex("b0 21 ba f8 03 ee f4").ljust(16, b"\x90")  # prints '!'


class AlteredCertificate(Host):
    async def certificates(self) -> Certificates:
        given = await super().certificates()
        return replace(given, pek=_flipped(given.pek, 5))  # its API version, which the signatures cover


class UnsignedCek(Host):
    async def certificates(self) -> Certificates:
        given = await super().certificates()
        forged = certificate.parse(given.cek, "CEK")
        own = rsa.generate_private_key(65537, 2048)
        return replace(given, cek=_signed(forged, certificate.rsa_slot(Usage.ASK, own, forged.body)))


class Counterfeit(Host):
    """No secure processor stands behind it: every key is the host's own, and every signature verifies."""

    async def certificates(self) -> Certificates:
        genuine = await super().certificates()
        product = PRODUCTS[0]
        ark, ask = (rsa.generate_private_key(65537, product.bits) for _ in range(2))
        chip, owner, endorser, agreement = (ec.generate_private_key(ec.SECP384R1()) for _ in range(4))
        cek = _certificate(genuine.cek, chip)
        oca = _certificate(genuine.oca, owner)
        pek = _certificate(genuine.pek, endorser)
        pdh = _certificate(genuine.pdh, agreement)
        ids = product.ark_key_id, product.ask_key_id
        return Certificates(
            pdh=_signed(pdh, certificate.ecdsa_slot(Usage.PEK, endorser, pdh.body)),
            pek=_signed(
                pek,
                certificate.ecdsa_slot(Usage.OCA, owner, pek.body),
                certificate.ecdsa_slot(Usage.CEK, chip, pek.body),
            ),
            oca=_signed(oca, certificate.ecdsa_slot(Usage.OCA, owner, oca.body)),
            cek=_signed(cek, certificate.rsa_slot(Usage.ASK, ask, cek.body)),
            ask=ca_certificate.issue(Usage.ASK, ask.public_key(), ids[1], ids[0], ark).encode(),
            ark=ca_certificate.issue(Usage.ARK, ark.public_key(), ids[0], ids[0], ark).encode(),
        )


class OwnPdh(Host):
    """Whoever has the PDH's private key reads TEK and TIK. The PEK's signature cannot be had for it."""

    async def certificates(self) -> Certificates:
        given = await super().certificates()
        genuine = certificate.parse(given.pdh, "PDH")
        own = _certificate(given.pdh, ec.generate_private_key(ec.SECP384R1()))
        return replace(given, pdh=replace(own, slots=genuine.slots).encode())


class OtherOwner(Host):
    """Anyone can sign a PEK for an owner CA of their own; every signature in the chain verifies."""

    async def certificates(self) -> Certificates:
        given = await super().certificates()
        owner = ec.generate_private_key(ec.SECP384R1())
        oca, pek = _certificate(given.oca, owner), certificate.parse(given.pek, "PEK")
        kept = [slot for slot in pek.slots if slot.usage is Usage.CEK]
        return replace(
            given,
            oca=_signed(oca, certificate.ecdsa_slot(Usage.OCA, owner, oca.body)),
            pek=_signed(pek, certificate.ecdsa_slot(Usage.OCA, owner, pek.body), *kept),
        )


class DebugLeftOn(Host):
    async def start(self, launch: Launch) -> Measurement:
        return await super().start(replace(launch, policy=launch.policy & ~GuestPolicyBit.NODBG))


class AlteredSession(Host):
    async def start(self, launch: Launch) -> Measurement:
        return await super().start(replace(launch, session=_flipped(launch.session, 0x10)))


class OwnKeys(Host):
    """It wraps a TEK and a TIK that it knows for the genuine platform: the firmware launches that gladly."""

    async def start(self, launch: Launch) -> Measurement:
        pdh, _ = await self.machine.pdh_cert_export()
        owner = ec.generate_private_key(ec.SECP384R1())
        made = session.create(
            certificate.parse(pdh, "PDH").public_key,
            launch.policy,
            owner,
            nonce=os.urandom(session.NONCE_SIZE),
            iv=os.urandom(session.KEY_SIZE),
            keys=LaunchKeys(os.urandom(session.KEY_SIZE), os.urandom(session.KEY_SIZE)),
        )
        certified = session.owner_certificate(owner.public_key())
        return await super().start(Launch(launch.policy, certified, made.encode()))


class Ownerless(Host):
    """Without a session the firmware's TEK and TIK are zeros, and anybody can compute the measurement."""

    async def start(self, launch: Launch) -> Measurement:
        return await super().start(replace(launch, owner=b"", session=b""))


class NoSev(Host):
    async def start(self, launch: Launch) -> Measurement:  # noqa: ARG002 - it launches nothing
        await self.new_guest()
        version = await self.machine.sev_version()
        return Measurement(
            version.api_major, version.api_minor, version.build, os.urandom(32), os.urandom(16)
        )


class NotEmpty(Host):
    async def measure(self, guest: BareGuest) -> Measurement:
        await guest.launch_update_data(ADDRESS, _OWN_CODE)
        return await super().measure(guest)


class AlteredMeasurement(Host):
    async def measure(self, guest: BareGuest) -> Measurement:
        answer = await super().measure(guest)
        return replace(answer, measure=_flipped(answer.measure, 0))


class NewerFirmware(Host):
    async def measure(self, guest: BareGuest) -> Measurement:
        answer = await super().measure(guest)
        return replace(answer, build=answer.build + 1)


class OldMeasurement(Host):
    _recorded: Measurement | None = None

    async def measure(self, guest: BareGuest) -> Measurement:
        answer, recorded = await super().measure(guest), self._recorded
        self._recorded = answer
        return recorded or answer


class AlteredPacket(Host):
    async def inject(self, packet: Packet) -> None:
        await super().inject(replace(packet, data=_flipped(packet.data, 0)))


class ReplayedPacket(Host):
    _recorded: Packet | None = None

    async def inject(self, packet: Packet) -> None:
        recorded, self._recorded = self._recorded, packet
        await super().inject(recorded or packet)


class OtherGuest(Host):
    """The same session launches two machines, with the same TEK and TIK; only one was measured for it."""

    async def start(self, launch: Launch) -> Measurement:
        answer = await super().start(launch)
        await super().start(launch)
        return answer


class Elsewhere(Host):
    """The packet's MAC covers no address, so the firmware takes it. The program itself knows its place."""

    entry = _ELSEWHERE

    async def inject(self, packet: Packet) -> None:
        await super().inject(replace(packet, address=_ELSEWHERE))


def _flipped(data: bytes, at: int) -> bytes:
    """The same with one bit altered."""
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def _certificate(like: bytes, key: ec.EllipticCurvePrivateKey) -> Certificate:
    """One like another, for a key of the host's own."""
    head = certificate.parse(like, "certificate")
    return replace(
        head,
        algorithm=Algorithm.ECDH_SHA256 if head.usage is Usage.PDH else Algorithm.ECDSA_SHA256,
        key_bytes=certificate.ec_key_bytes(key.public_key()),
    )


def _signed(one: Certificate, *slots: SignatureSlot) -> bytes:
    first, second = (*slots, EMPTY_SLOT)[:2]
    return replace(one, slots=(first, second)).encode()


HOSTS: Final[Mapping[str, type[Host]]] = {
    "certificate": AlteredCertificate,
    "cek": UnsignedCek,
    "root": Counterfeit,
    "pdh": OwnPdh,
    "owner": OtherOwner,
    "policy": DebugLeftOn,
    "session": AlteredSession,
    "own-keys": OwnKeys,
    "ownerless": Ownerless,
    "no-sev": NoSev,
    "not-empty": NotEmpty,
    "measurement": AlteredMeasurement,
    "api": NewerFirmware,
    "old-measurement": OldMeasurement,
    "packet": AlteredPacket,
    "replay": ReplayedPacket,
    "other-guest": OtherGuest,
    "address": Elsewhere,
}
"""By the name of the cheat."""
