"""SNP_GUEST_REQUEST: the channel between a guest and its secure processor (SNP firmware ABI 7, 8.26; SEV.md
C.7).

The rules, in the order they are checked:

1. the header is one this firmware knows, and its key is one of four (INVALID_PARAM, INVALID_LENGTH);
2. the sequence number is exactly the next (AEAD_OFLOW): a number is never used for two payloads;
3. the tag under the guest's VMPCK is right (BAD_MEASUREMENT);
4. only now is the payload looked at; what is wrong *inside* is a status inside the sealed answer, and a
type or
   size that this firmware does not serve is INVALID_PARAM without one.

A refusal under 1–3 counts nothing. From 4 on both numbers are spent, answered or not.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.snp_messages import (
    ALGO_AES_256_GCM,
    HEADER_SIZE,
    HEADER_VERSION,
    MAX_PAYLOAD,
    MESSAGE_VERSION,
    PAGE,
    TAG_SIZE,
    VMPCK_COUNT,
    KeyRequest,
    KeyResponse,
    MessageHeader,
    MessageStatus,
    MessageType,
    ReportRequest,
    ReportResponse,
    additional_data,
    header_for,
    initialisation_vector,
)
from wasmkeep.simulator.chip import Chip
from wasmkeep.simulator.guest import GuestContext
from wasmkeep.simulator.report import (
    SIGNING_KEY_NONE,
    SIGNING_KEY_VCEK,
    SIGNING_KEY_VLEK,
    PlatformFacts,
    compose,
    sign,
)
from wasmkeep.simulator.status import Refused, require

_MAX_COUNT = (1 << 64) - 2
_EITHER, _VCEK, _VLEK = 0, 1, 2  # KEY_SEL; EITHER is the VLEK if one is loaded, else the VCEK
_MAX_VMPL = 3
_FIELDS = 0x3F  # guest fields that a derived key may mix in
_TSC_INFO_SIZE = 128


def answer(page: bytes, guest: GuestContext, platform: PlatformFacts, chip: Chip) -> bytes:
    """The response page to the request page `page`. Raises `Refused`."""
    header = MessageHeader.parse(page)
    _check_header(header)
    count = guest.message_count[header.vmpck]
    require(header.seqno == count + 1 and header.seqno < _MAX_COUNT, SevStatus.AEAD_OFLOW)
    payload = _open(page, header, guest.vmpck[header.vmpck])
    guest.message_count[header.vmpck] = count + 2  # spent, whatever follows
    kind, response = _respond(header, payload, guest, platform, chip)
    return _seal(kind, header.seqno + 1, response, header.vmpck, guest.vmpck[header.vmpck])


def _check_header(header: MessageHeader) -> None:
    require(header.algo == ALGO_AES_256_GCM, SevStatus.INVALID_PARAM)
    require(
        header.header_version == HEADER_VERSION and header.header_size == HEADER_SIZE, SevStatus.INVALID_PARAM
    )
    require(header.vmpck < VMPCK_COUNT and not header.reserved, SevStatus.INVALID_PARAM)
    require(0 < header.size <= MAX_PAYLOAD, SevStatus.INVALID_LENGTH)


def _open(page: bytes, header: MessageHeader, key: bytes) -> bytes:
    sealed = page[HEADER_SIZE : HEADER_SIZE + header.size] + header.authtag
    try:
        return AESGCM(key).decrypt(
            initialisation_vector(header.seqno), sealed, additional_data(page[:HEADER_SIZE])
        )
    except InvalidTag as error:
        raise Refused(SevStatus.BAD_MEASUREMENT) from error


def _seal(kind: MessageType, seqno: int, payload: bytes, vmpck: int, key: bytes) -> bytes:
    plain = header_for(kind, seqno, len(payload), vmpck).encode()
    sealed = AESGCM(key).encrypt(initialisation_vector(seqno), payload, additional_data(plain))
    page = sealed[-TAG_SIZE:] + plain[TAG_SIZE:] + sealed[:-TAG_SIZE]
    return page.ljust(PAGE, b"\0")


def _respond(
    header: MessageHeader, payload: bytes, guest: GuestContext, platform: PlatformFacts, chip: Chip
) -> tuple[MessageType, bytes]:
    require(header.version == MESSAGE_VERSION, SevStatus.INVALID_PARAM)
    if header.kind == MessageType.REPORT_REQ and header.size == ReportRequest.SIZE:
        request = ReportRequest.parse(payload)
        return MessageType.REPORT_RSP, _report(request, header.vmpck, guest, platform, chip).encode()
    if header.kind == MessageType.KEY_REQ and header.size == KeyRequest.SIZE:
        wanted = KeyRequest.parse(payload)
        return MessageType.KEY_RSP, _key(wanted, header.vmpck, guest, platform, chip).encode()
    if header.kind == MessageType.TSC_INFO_REQ and header.size == _TSC_INFO_SIZE:
        # Secure TSC is a feature of the VMSA, and this machine's CPU has none.
        return MessageType.TSC_INFO_RSP, bytes((MessageStatus.INVALID_PARAM,)).ljust(_TSC_INFO_SIZE, b"\0")
    raise Refused(SevStatus.INVALID_PARAM)


def _uses_vlek(key_select: int, platform: PlatformFacts) -> bool:
    return key_select == _VLEK or (key_select == _EITHER and platform.vlek is not None)


def _key_status(key_select: int, guest: GuestContext, platform: PlatformFacts) -> MessageStatus:
    if key_select not in (_EITHER, _VCEK, _VLEK):
        return MessageStatus.INVALID_PARAM
    absent = platform.vlek is None if _uses_vlek(key_select, platform) else guest.vcek_disabled
    return MessageStatus.INVALID_KEY if absent else MessageStatus.SUCCESS


def _report(
    request: ReportRequest, sender: int, guest: GuestContext, platform: PlatformFacts, chip: Chip
) -> ReportResponse:
    """The sender's VMPL is the number of its key; it may ask for its own level or a weaker one."""
    if request.reserved or not sender <= request.vmpl <= _MAX_VMPL:
        return ReportResponse(MessageStatus.INVALID_PARAM, b"")
    status = _key_status(request.key_select, guest, platform)
    if status is not MessageStatus.SUCCESS:
        return ReportResponse(status, b"")
    name, key = _signer(request.key_select, platform, chip)
    body = compose(platform, guest, request.report_data, request.vmpl, name)
    return ReportResponse(MessageStatus.SUCCESS, sign(body, key))


def _signer(
    key_select: int, platform: PlatformFacts, chip: Chip
) -> tuple[int, ec.EllipticCurvePrivateKey | None]:
    """SIGNING_KEY and the key. Only the chip's own key can be masked."""
    if platform.vlek is not None and _uses_vlek(key_select, platform):
        return SIGNING_KEY_VLEK, platform.vlek.lowered(platform.reported_tcb).key()
    if platform.mask_chip_key:
        return SIGNING_KEY_NONE, None
    return SIGNING_KEY_VCEK, chip.vcek(platform.reported_tcb)


def _key(
    request: KeyRequest, sender: int, guest: GuestContext, platform: PlatformFacts, chip: Chip
) -> KeyResponse:
    status = MessageStatus.SUCCESS if request.root_key else _key_status(request.key_select, guest, platform)
    if status is MessageStatus.SUCCESS and not _key_allowed(request, sender, guest, platform):
        status = MessageStatus.INVALID_PARAM
    if status is not MessageStatus.SUCCESS:
        return KeyResponse(status, bytes(32))
    return KeyResponse(
        MessageStatus.SUCCESS, _derive(_root_key(request, guest, platform, chip), request, guest)
    )


def _root_key(request: KeyRequest, guest: GuestContext, platform: PlatformFacts, chip: Chip) -> bytes:
    if request.root_key:
        return guest.root_key
    if platform.vlek is not None and _uses_vlek(request.key_select, platform):
        return platform.vlek.lowered(platform.reported_tcb).root_key()
    return chip.root_key()


def _key_allowed(request: KeyRequest, sender: int, guest: GuestContext, platform: PlatformFacts) -> bool:
    return (
        not request.reserved
        and sender <= request.vmpl <= _MAX_VMPL
        and not request.field_select & ~_FIELDS
        and request.guest_svn <= guest.id_block.guest_svn
        and platform.product.tcb_at_most(request.tcb_version, platform.committed_tcb)
    )


def _derive(root: bytes, request: KeyRequest, guest: GuestContext) -> bytes:
    """Always mixed: root, VMPL, host data, key digests; then the fields asked for, each in its place."""
    identity = guest.id_block
    fields = (
        guest.policy.to_bytes(8, "little"),
        identity.image_id,
        identity.family_id,
        guest.launch_digest,
        request.guest_svn.to_bytes(4, "little"),
        request.tcb_version.to_bytes(8, "little"),
    )
    chosen = b"".join(
        value if request.field_select >> bit & 1 else bytes(len(value)) for bit, value in enumerate(fields)
    )
    selects = bytes((request.root_key, request.vmpl)) + request.field_select.to_bytes(8, "little")
    always = guest.host_data + identity.id_key_digest + identity.author_key_digest
    info = b"wasmkeep simulated guest key\0" + selects + always + chosen
    return HKDF(hashes.SHA384(), 32, salt=None, info=info).derive(root)
