"""Receipts as files: made at the end of a run, verified offline, by anyone, months later.

Verification, marked with these numbers below:

1. The file parses; its binding gives the report data, and with it the session's identifier.
2. The evidence passes the policy at the time of the run, bound to that report data and tenant key. That time
   is the tenant's own claim, which the receipt key signed: no TEE stamps time. Without the stored session
   that it needs, the receipt is neither valid nor invalid: ``TenantOnly``.
3. Launch statement and receipt are signed by the receipt key that the report data names, for this session.
4. The receipt repeats the launch statement, whose measurement is the evidence's launch digest (of SEV, where
   a keep cannot know its own, none); the marks are those of this kind of TEE.
5. Asked for: the program, compiled again for the target named, has the receipt's program digest.
6. Asked for: the evidence would be accepted now too; if not, ``RevokedSince``.

Salts stay with the tenant (`encode_disclosures`); one disclosed salt proves one field.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wasmkeep import evidence
from wasmkeep.errors import InputError, ReceiptInvalid, RevokedSince, SessionError, TenantOnly
from wasmkeep.evidence import cmw
from wasmkeep.evidence.errors import Rejected
from wasmkeep.protocol import binding, statements
from wasmkeep.protocol.binding import Field
from wasmkeep.protocol.events import Salts
from wasmkeep.protocol.statements import LaunchStatement, Receipt
from wasmkeep.tenant.receipt_file import (
    MAX_RECEIPT_SIZE,
    Binding,
    ReceiptFile,
    decode,
    encode,
    malformed,
    marks_of,
)

if TYPE_CHECKING:
    from wasmkeep.evidence.policy import Policy
    from wasmkeep.evidence.result import AttestationResult
    from wasmkeep.evidence.sev.evidence import SevKeys
    from wasmkeep.protocol.session import TenantSession
    from wasmkeep.tenant.appraisal import Appraisal

__all__ = [
    "MAX_RECEIPT_SIZE",
    "Binding",
    "ReceiptFile",
    "VerifiedReceipt",
    "collect",
    "decode",
    "decode_disclosures",
    "encode",
    "encode_disclosures",
    "require_accepted_now",
    "require_disclosed",
    "require_program",
    "verify",
]

MAX_CLOCK_DIFFERENCE = timedelta(minutes=10)
"""By how much a tenant's clock may have been ahead of the verifier's."""


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


def verify(
    file: ReceiptFile,
    policy: Policy,
    reference_values: Mapping[bytes, str],
    *,
    now: datetime | None = None,
    keys: SevKeys | None = None,
) -> VerifiedReceipt:
    """Steps 2 to 4. Raises Rejected where the evidence is refused, ReceiptInvalid where the rest is, and
    TenantOnly where nothing is wrong but that ``keys``, the tenant's stored session, are needed and not here.

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
    # 4, but for the measurement
    _require_one_session(file, launch, receipt)
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
    if file.tenant_only and keys is None:
        raise _tenant_only()
    result = _appraise(file, policy, reference_values, started, keys=keys)
    # 4
    _require_equal("measurement", launch.measurement, b"" if file.tenant_only else result.launch_digest)
    return VerifiedReceipt(receipt, result, session_id)


def require_accepted_now(
    file: ReceiptFile,
    policy: Policy,
    reference_values: Mapping[bytes, str],
    *,
    crl: bytes | None,
    at: datetime,
    crl_not_older_than: Mapping[str, datetime],
    keys: SevKeys | None = None,
) -> None:
    """Step 6: with today's policy and revocation list (DER, None for SEV and SEV-ES, which have none).

    Raises RevokedSince.
    """
    today = file
    if isinstance(file.evidence, evidence.SnpEvidence):
        today = replace(file, evidence=replace(file.evidence, crl=crl))
    try:
        _appraise(today, policy, reference_values, at, crl_not_older_than, keys)
    except Rejected as refused:
        if not any(_is_a_change_of_mind(check) for check in refused.checks):
            raise InputError(
                "receipt.now",
                "whether the receipt's keep would be accepted now cannot be told",
                found="; ".join(f"{finding.check}: {finding.message}" for finding in refused.findings),
                required="today's policy, and revocation list in date, with the keep's own root",
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
    unknown = check.startswith(("snp.crl.", "snp.chain.", "snp.certificates.", "sev.chain."))
    return check == "snp.crl.revoked" or not (unknown or check in ("snp.root", "sev.root"))


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
        raise malformed("a file of salts of another form") from error
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
    keys: SevKeys | None = None,
) -> AttestationResult:
    return evidence.verify(
        file.evidence,
        policy,
        at=at,
        binding=file.binding.report_data,
        reference_values=reference_values,
        host_data=evidence.UNBOUND if file.tenant_only else file.binding.tenant_key_digest,
        crl_not_older_than=crl_not_older_than,
        challenged_at=at,  # the run that it vouches for was the answer to its challenge
        sev_keys=keys,
    )


def _require_one_session(file: ReceiptFile, launch: LaunchStatement, receipt: Receipt) -> None:
    _require_equal("launch statement", receipt.launch, launch)
    _require_equal("kind of TEE", launch.tee, file.binding.tee)
    _require_equal("kind of TEE", launch.tee, file.tee)
    _require_equal("tenant key", launch.tenant_key_digest, file.binding.tenant_key_digest)
    _require_equal("mark of who can verify it and what it does not protect", file.marks, marks_of(file.tee))


def _require_equal(what: str, found: object, required: object) -> None:
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
        raise malformed("a time that no calendar has") from None


def _tenant_only() -> TenantOnly:
    return TenantOnly(
        "receipt.tenant-only",
        "this receipt cannot be shown to others",
        found="evidence that is an HMAC under a key of the tenant's, and no stored session",
        required="the session that the tenant stored beside the receipt",
        meaning="whoever made the keys of a SEV or SEV-ES launch could have made its evidence too: it "
        "convinces the tenant who made them, and nobody else",
        remedy="the tenant verifies it with --session FILE; a receipt of SEV-SNP convinces anybody",
    )
