"""The secure processor's half of a launch in Python, with the functions that a simulated one uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from wasmkeep.evidence.roots import Root
from wasmkeep.evidence.sev import certificate
from wasmkeep.evidence.sev.bits import GuestPolicyBit
from wasmkeep.evidence.sev.certificate import Algorithm, Certificate, Usage, ec_key_bytes
from wasmkeep.evidence.sev.chain import AuthenticPlatform
from wasmkeep.evidence.sev.measurement import LaunchMeasurement, ProvenLaunch, measure, verify_measurement
from wasmkeep.evidence.sev.packet import SecretPacket, open_secret
from wasmkeep.evidence.sev.session import LaunchKeys, LaunchSession, open_session, shared_secret
from wasmkeep.protocol.pre_attested import LaunchMessage, MeasurementMessage, PreAttestedLaunch, SecretMessage

DIGEST = bytes(range(32))
API, BUILD = (1, 55), 21
POLICY = int(GuestPolicyBit.NODBG | GuestPolicyBit.NOKS | GuestPolicyBit.NOSEND) | 24 << 24
POLICIES = {"sev": POLICY, "sev-es": POLICY | GuestPolicyBit.ES}


@dataclass
class FirmwareHalf:
    """One chip, one launch at a time; checks everything that the firmware checks."""

    pdh: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    digest: bytes = DIGEST
    mnonce: bytes = b"M" * 16
    keys: LaunchKeys = field(init=False)
    measured: LaunchMeasurement = field(init=False)

    @property
    def platform(self) -> AuthenticPlatform:
        """As the tenant has authenticated it."""
        pdh = Certificate(*API, Usage.PDH, Algorithm.ECDH_SHA256, ec_key_bytes(self.pdh.public_key()))
        root = Root("ARK-Milan", bytes(32), "Milan", simulated=False)
        return AuthenticPlatform(root, "Milan", API, pdh, pdh, bytes(32), bytes(32))

    def launch(self, message: bytes) -> bytes:
        """LAUNCH_START to LAUNCH_MEASURE: the MEASUREMENT message."""
        asked = LaunchMessage.parse(message)
        owner = certificate.parse(asked.owner_certificate, "owner").public_key
        shared = shared_secret(self.pdh, owner)
        self.keys = open_session(LaunchSession.parse(asked.session), shared, asked.policy)
        value = measure(self.keys.tik, *API, BUILD, asked.policy, self.digest, self.mnonce)
        self.measured = LaunchMeasurement(value, self.mnonce)
        return MeasurementMessage(*API, BUILD, value, self.mnonce).encode()

    def secret(self, message: bytes) -> bytes:
        """LAUNCH_SECRET: what is written into guest memory."""
        sealed = SecretMessage.parse(message)
        return open_secret(self.keys, SecretPacket(sealed.header, sealed.data), self.measured.measure)


def proven(launch: PreAttestedLaunch, said: MeasurementMessage, digest: bytes = DIGEST) -> ProvenLaunch:
    """The tenant's verdict."""
    measured = LaunchMeasurement(said.measure, said.mnonce)
    version = said.api_major, said.api_minor, said.build
    return verify_measurement(launch.tik, measured, *version, launch.policy, [digest])
