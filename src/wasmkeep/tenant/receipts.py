"""Receipts as files: made at the end of a run, verified offline, by anyone, months later.

A receipt file is a CMW collection (RFC 9999) in JSON, one encoding only::

    {"__cmwc_t": "tag:wasmkeep.invalid,2026:receipt#1",
     "evidence": ["application/cmw+json", …, 4],                   the report, its endorsements, the binding
     "launch":   ["application/cose; cose-type=\\"cose-sign1\\"", …, 4],
     "receipt":  ["application/cose; cose-type=\\"cose-sign1\\"", …, 4]}

Verification, marked with these numbers below:

1. The file parses; its binding gives the report data, and with it the session's identifier.
2. The evidence passes the policy at the time of the run, bound to that report data and tenant key. That time
   is the tenant's own claim, which the receipt key signed: no TEE stamps time.
3. Launch statement and receipt are signed by the receipt key that the report data names, for this session.
4. The receipt repeats the launch statement, whose measurement is the evidence's launch digest.
5. Asked for: the program, compiled again for the target named, has the receipt's program digest.
6. Asked for: the evidence would be accepted now too; if not, ``RevokedSince``.

Salts stay with the tenant (`encode_disclosures`); one disclosed salt proves one field.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from wasmkeep import evidence
from wasmkeep.errors import InputError, ReceiptInvalid, RevokedSince, SessionError
from wasmkeep.evidence import cmw
from wasmkeep.evidence.errors import Rejected
from wasmkeep.protocol import binding, statements
from wasmkeep.protocol.binding import Field
from wasmkeep.protocol.events import Salts
from wasmkeep.protocol.statements import LaunchStatement, Receipt

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.result import AttestationResult
    from wasmkeep.evidence.snp.evidence import SnpEvidence
    from wasmkeep.protocol.session import TenantSession
    from wasmkeep.tenant.appraisal import Appraisal

COLLECTION_TYPE = "tag:wasmkeep.invalid,2026:receipt#1"
MAX_RECEIPT_SIZE = 1 << 20
"""Bytes of a receipt file."""
MAX_CLOCK_DIFFERENCE = timedelta(minutes=10)
"""By how much a tenant's clock may have been ahead of the verifier's."""

_STATEMENT_TYPE = 'application/cose; cose-type="cose-sign1"'
_EVIDENCE_INDICATOR = 4
_MEMBERS = {"evidence": cmw.MEDIA_TYPE, "launch": _STATEMENT_TYPE, "receipt": _STATEMENT_TYPE}
_BINDING_LABEL = b"wasmkeep-binding-v1"
_BINDING_SIZES = (
    ("nonce", binding.NONCE_SIZE),
    ("tenant_key_digest", 32),
    ("receiving_key", binding.RECEIVING_KEY_SIZE),
    ("receipt_key", binding.RECEIPT_KEY_SIZE),
    ("hpke_message_digest", 32),
)


@dataclass(frozen=True, slots=True)
class Binding:
    """What the report data and the session's identifier are recomputed from."""

    tee: str
    nonce: bytes
    tenant_key_digest: bytes
    receiving_key: bytes
    receipt_key: bytes
    hpke_message_digest: bytes

    @property
    def report_data(self) -> bytes:
        return binding.report_data(
            tee=self.tee,
            nonce=self.nonce,
            tenant_key_digest=self.tenant_key_digest,
            receiving_key=self.receiving_key,
            receipt_key=self.receipt_key,
        )

    @property
    def session_id(self) -> bytes:
        return binding.session_id(self.report_data, self.hpke_message_digest)

    def encode(self) -> bytes:
        """Label and fields, each with its length as u32 little-endian."""
        values = [getattr(self, name) for name, _ in _BINDING_SIZES]
        return binding.length_prefixed(_BINDING_LABEL, self.tee.encode("ascii"), *values)

    @classmethod
    def decode(cls, data: bytes) -> Binding:
        """Raises ReceiptInvalid unless ``data`` is what `encode` makes."""
        items = _length_prefixed_items(data)
        sizes = [len(item) for item in items]
        if sizes[2:] != [size for _, size in _BINDING_SIZES] or items[0] != _BINDING_LABEL:
            raise _malformed("a binding of another form")
        if not items[1].isalpha() or not 0 < len(items[1]) <= 16:
            raise _malformed("a binding to no kind of TEE")
        return cls(items[1].decode("ascii"), *items[2:])


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """A receipt file, read; nothing in it is verified."""

    evidence: SnpEvidence
    binding: Binding
    launch: bytes
    receipt: bytes


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt that verified, and the verdict on the keep that signed it. Made by `verify` only."""

    receipt: Receipt
    result: AttestationResult
    session_id: bytes

    @property
    def started(self) -> datetime:
        """When the run began, as claimed by the tenant."""
        return _moment(self.receipt.launch.started_ns)


def collect(session: TenantSession, appraisal: Appraisal) -> bytes:
    """What a receipt file holds of a session once delivery has begun: the evidence, and what binds it."""
    offer = appraisal.offer
    bound = Binding(
        session.tee,
        session.nonce,
        session.tenant_key_digest,
        offer.receiving_key,
        offer.receipt_key,
        session.hpke_message_digest,
    )
    return cmw.encode(cmw.EvidenceCollection(appraisal.evidence, bound.encode()))


def encode(*, evidence: bytes, launch: bytes, receipt: bytes) -> bytes:
    """The receipt file of a session that ended; ``evidence`` as `collect` gave it."""
    return _to_json({"evidence": evidence, "launch": launch, "receipt": receipt})


def decode(data: bytes) -> ReceiptFile:
    """Read a receipt file (step 1). Raises ReceiptInvalid, or Rejected for malformed evidence."""
    values = _from_json(data)
    collection = cmw.decode(values["evidence"])
    if collection.binding is None:
        raise _malformed("evidence without its binding")
    return ReceiptFile(
        collection.evidence, Binding.decode(collection.binding), values["launch"], values["receipt"]
    )


def verify(
    file: ReceiptFile,
    policy: Policy,
    reference_values: Mapping[bytes, str],
    *,
    now: datetime | None = None,
) -> VerifiedReceipt:
    """Steps 2 to 4. Raises Rejected where the evidence is refused, ReceiptInvalid where the rest is.

    The launch digests in ``reference_values`` must be of keeps with the memory of this run's. ``now`` is the
    present, the clock's where it is None: a run that has not been yet is refused.
    """
    # 3 (the signatures come first, since the time of the run is what they sign; the key in them is believed
    # only once step 2 has passed)
    session_id = file.binding.session_id
    try:
        launch = statements.verify_launch(file.launch, file.binding.receipt_key, session_id)
        receipt = statements.verify_receipt(file.receipt, file.binding.receipt_key, session_id)
    except SessionError as error:
        raise ReceiptInvalid(
            f"receipt.{error.check}", error.message, found=error.found, required=error.required
        ) from error
    # 2
    started = _moment(launch.started_ns)
    if started > (now if now is not None else datetime.now(UTC)) + MAX_CLOCK_DIFFERENCE:
        raise ReceiptInvalid(
            "receipt.time",
            "the receipt is about a run in the future",
            found=f"a start at {started:%Y-%m-%d %H:%M} UTC, as claimed by the tenant",
            required="a time that has been",
            meaning="a clock is wrong, or a time was claimed at which other evidence is fresh",
        )
    result = _appraise(file, policy, reference_values, started)
    # 4
    _require_consistent(file, launch, receipt, result)
    return VerifiedReceipt(receipt, result, session_id)


def require_accepted_now(
    file: ReceiptFile,
    policy: Policy,
    reference_values: Mapping[bytes, str],
    *,
    crl: bytes,
    at: datetime,
    crl_not_older_than: Mapping[str, datetime],
) -> None:
    """Step 6: with today's policy and revocation list (DER). Raises RevokedSince."""
    today = replace(file, evidence=replace(file.evidence, crl=crl))
    try:
        _appraise(today, policy, reference_values, at, crl_not_older_than)
    except Rejected as refused:
        if not any(_is_a_change_of_mind(check) for check in refused.checks):
            raise InputError(
                "receipt.now",
                "whether the receipt's keep would be accepted now cannot be told",
                found="; ".join(f"{finding.check}: {finding.message}" for finding in refused.findings),
                required="today's revocation list of the keep's own root, in date",
                meaning="nothing says that it was revoked, and nothing that it was not",
                remedy="`wasmkeep endorsements fetch` gets a current list",
            ) from refused
        raise RevokedSince(
            "receipt.revoked-since",
            "the receipt was valid at the time of the run, and its keep would be refused now",
            found="; ".join(f"{finding.check}: {finding.found}" for finding in refused.findings),
            required="evidence that today's policy and revocation list accept",
            meaning="what ran, ran; but what vouched for it is no longer trusted",
        ) from refused


def _is_a_change_of_mind(check: str) -> bool:
    """Whether a failed check means that somebody revoked or denies what was accepted at the run."""
    unknown = check.startswith(("snp.crl.", "snp.chain.", "snp.certificates.")) or check == "snp.root"
    return check == "snp.crl.revoked" or not unknown


def require_program(receipt: Receipt, program_digest: bytes) -> None:
    """Step 5: ``program_digest`` is that of the module compiled again. Raises ReceiptInvalid."""
    if not hmac.compare_digest(receipt.launch.program_digest, program_digest):
        raise ReceiptInvalid(
            "receipt.program",
            "the receipt is about another program",
            found=f"program digest {receipt.launch.program_digest.hex()}",
            required=f"{program_digest.hex()}, of the file you named, for {receipt.launch.target}",
            remedy="name the file that was deployed; another release's receipt needs that wasmkeep release",
        )


def require_disclosed(receipt: Receipt, field: Field, salt: bytes, data: bytes) -> None:
    """That the keep had ``data`` in ``field``, by its disclosed 32-byte salt. Raises ReceiptInvalid."""
    launch = receipt.launch
    stated = {
        Field.CONFIGURATION: launch.configuration_digest,
        Field.ARGUMENTS: launch.arguments_digest,
        Field.ENVIRONMENT: launch.environment_digest,
        Field.FILES: launch.files_digest,
        Field.STDIN: receipt.stdin.digest,
        Field.STDOUT: receipt.stdout.digest,
        Field.STDERR: receipt.stderr.digest,
    }[field]
    if len(salt) != binding.FIELD_SALT_SIZE or not hmac.compare_digest(
        binding.salted_digest(field, salt, data), stated
    ):
        raise ReceiptInvalid(
            f"receipt.{field}",
            f"the receipt has other {field}",
            found=f"salted digest {stated.hex()}",
            required=f"that of the {len(data)} bytes given, with the salt given",
        )


def encode_disclosures(session_id: bytes, salts: Salts) -> bytes:
    """The salts of a run, JSON: the tenant's to keep, and to disclose one by one."""
    values = {field.name: getattr(salts, field.name).hex() for field in fields(Salts)}
    return json.dumps({"session": session_id.hex(), "salts": values}, indent=1).encode() + b"\n"


def decode_disclosures(data: bytes, session_id: bytes) -> dict[Field, bytes]:
    """The salts in a file of `encode_disclosures`, or of what is left of one. Raises ReceiptInvalid."""
    try:
        if len(data) > MAX_RECEIPT_SIZE:
            raise ValueError("too large")
        members = json.loads(data)
        salts = {Field(name): bytes.fromhex(value) for name, value in members["salts"].items()}
        session = bytes.fromhex(members["session"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed("a file of salts of another form") from error
    if session != session_id:
        raise ReceiptInvalid(
            "receipt.salts",
            "the salts belong to another receipt",
            found=f"session {session.hex()[:64]}",
            required=f"session {session_id.hex()}",
        )
    return salts


def _appraise(
    file: ReceiptFile,
    policy: Policy,
    reference_values: Mapping[bytes, str],
    at: datetime,
    crl_not_older_than: Mapping[str, datetime] = evidence.NO_LISTS_SEEN,
) -> AttestationResult:
    return evidence.verify(
        file.evidence,
        policy,
        at=at,
        binding=file.binding.report_data,
        reference_values=reference_values,
        host_data=file.binding.tenant_key_digest,
        crl_not_older_than=crl_not_older_than,
    )


def _require_consistent(
    file: ReceiptFile, launch: LaunchStatement, receipt: Receipt, result: AttestationResult
) -> None:
    for what, found, required in (
        ("launch statement", receipt.launch, launch),
        ("measurement", launch.measurement, result.launch_digest),
        ("kind of TEE", launch.tee, result.tee),
        ("kind of TEE", launch.tee, file.binding.tee),
        ("tenant key", launch.tenant_key_digest, file.binding.tenant_key_digest),
    ):
        if found != required:
            raise ReceiptInvalid(
                "receipt.consistency",
                "the receipt and its evidence are about different keeps",
                found=f"another {what}",
                required="one session's evidence, launch statement and receipt",
            )


def _moment(nanoseconds: int) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        raise _malformed("a time that no calendar has") from None


def _to_json(values: Mapping[str, bytes]) -> bytes:
    members: dict[str, object] = {"__cmwc_t": COLLECTION_TYPE}
    for label, media_type in _MEMBERS.items():
        text = base64.urlsafe_b64encode(values[label]).rstrip(b"=").decode("ascii")
        members[label] = [media_type, text, _EVIDENCE_INDICATOR]
    return json.dumps(members, separators=(",", ":")).encode("ascii") + b"\n"


def _from_json(data: bytes) -> dict[str, bytes]:
    if len(data) > MAX_RECEIPT_SIZE:
        raise _malformed(f"more than {MAX_RECEIPT_SIZE} bytes")
    try:
        members: Any = json.loads(data)
        values = {label: _value(members[label][1]) for label in _MEMBERS}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise _malformed("a file that is no receipt") from error
    if _to_json(values) != data:
        raise _malformed("another encoding, or members that a receipt does not have")
    return values


def _value(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _length_prefixed_items(data: bytes) -> list[bytes]:
    items, offset = [], 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "little")
        offset += 4
        if size > len(data) - offset:
            raise _malformed("a binding cut short")
        items.append(data[offset : offset + size])
        offset += size
    return items


def _malformed(found: str) -> ReceiptInvalid:
    return ReceiptInvalid(
        "receipt.form",
        "this is not a receipt of wasmkeep's",
        found=found,
        required="a receipt file, unaltered",
    )
