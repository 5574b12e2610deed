"""The AMD secure processor: its SNP firmware here (platform commands, guest contexts, the launch), its SEV
firmware in `sev`, and the key slots that both give to guests.

Method names are the specification's commands (SNP firmware ABI 8). A check that fails raises `Refused` with
the specification's status, and the guest or platform is as it was. Which command is legal in which state is
the table in `states`. Guests are used by one thread each; what they share is behind one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from wasmkeep.hardware.kvm_sev import PAGE
from wasmkeep.hardware.kvm_snp import SnpPageType
from wasmkeep.hardware.psp_sev import (
    MASK_CHIP_ID,
    MASK_CHIP_KEY,
    VLEK_EN,
    FirmwareCommand,
    PlatformState,
    SevUserDataSnpConfig,
    SevUserDataSnpStatus,
)
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.hardware.snp_messages import SecretsPage
from wasmkeep.simulator.chip import CHIP_ID_SIZE, Chip
from wasmkeep.simulator.cpuid_page import correct_cpuid_page
from wasmkeep.simulator.guest import (
    POLICY_CIPHERTEXT_HIDING,
    POLICY_MEM_AES_256_XTS,
    POLICY_MUST_BE_ONE,
    POLICY_RAPL_DIS,
    POLICY_SMT,
    GuestContext,
    GuestMemory,
)
from wasmkeep.simulator.guest_messages import answer
from wasmkeep.simulator.id_block import NO_ID_BLOCK, check_id_block
from wasmkeep.simulator.key_slots import KeySlots
from wasmkeep.simulator.launch_digest import NO_PERMISSIONS, VMSA_GPA, LaunchDigests, Permissions
from wasmkeep.simulator.memory_encryption import MemoryKey
from wasmkeep.simulator.products import Firmware, Product, SevVersion
from wasmkeep.simulator.report import PlatformFacts
from wasmkeep.simulator.sev.processor import SevFirmware
from wasmkeep.simulator.states import GuestState, next_state
from wasmkeep.simulator.status import Refused, require
from wasmkeep.simulator.vlek import Hashstick, unwrap

_SMT_EN = 1 << 0  # platform_info
_RAPL_DISABLED = 1 << 3
_CIPHERTEXT_HIDING_EN = 1 << 4
_ABI_BITS = 0xFFFF
_FIRST_POLICY_BIT = 16
_SECRETS_VERSION = 3
_CONTENTS = frozenset((SnpPageType.NORMAL, SnpPageType.UNMEASURED, SnpPageType.CPUID))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the firmware runs with. TCBs are u64; `slots` is the number of ASIDs, of which those below
    `min_sev_asid` are for SNP and SEV-ES (None: all).
    """

    product: Product
    firmware: Firmware
    current_tcb: int
    committed_tcb: int
    reported_tcb: int
    platform_info: int
    slots: int
    mask_chip_id: bool = False
    mask_chip_key: bool = False
    min_sev_asid: int | None = None
    sev: SevVersion | None = None  # None: the product's
    amd_roots: frozenset[bytes] = frozenset()  # SPKI digests; SEND_START takes these ARKs for AMD's


class SecureProcessor:
    def __init__(self, chip: Chip, configuration: Configuration, endorse: Callable[[int], object]) -> None:
        """`endorse` publishes the VCEK's certificate whenever the reported TCB becomes another one."""
        self._chip = chip
        self._configuration = configuration
        self._endorse = endorse
        self._lock = threading.Lock()
        self.slots = KeySlots(configuration.slots, configuration.min_sev_asid)
        version = configuration.sev or configuration.product.sev
        self.sev = SevFirmware(chip, version, self.slots, configuration.amd_roots)
        self._vlek: Hashstick | None = None
        self._guests = 0
        self._digests = LaunchDigests()
        if configuration.product.has_snp:
            endorse(configuration.reported_tcb)

    @property
    def configuration(self) -> Configuration:
        return self._configuration

    # Platform

    def _require_snp(self) -> None:
        """The firmware of a processor without SNP knows none of its commands."""
        require(self._configuration.product.has_snp, SevStatus.INVALID_COMMAND)

    def snp_platform_status(self) -> bytes:
        """32 bytes, as the kernel hands them to its caller."""
        self._require_snp()
        facts = self._configuration
        flags = MASK_CHIP_ID * facts.mask_chip_id | MASK_CHIP_KEY * facts.mask_chip_key
        flags |= VLEK_EN * (self._vlek is not None)
        return bytes(
            SevUserDataSnpStatus(
                api_major=facts.firmware.major,
                api_minor=facts.firmware.minor,
                state=PlatformState.INIT,
                rmp=1,
                build_id=facts.firmware.build,
                flags=flags,
                guest_count=self._guests,
                current_tcb_version=facts.current_tcb,
                reported_tcb_version=facts.reported_tcb,
            )
        )

    def snp_config(self, config: SevUserDataSnpConfig) -> None:
        """SNP_CONFIG: the reported TCB (0 = the committed one) and what reports leave out."""
        self._require_snp()
        known = MASK_CHIP_ID | MASK_CHIP_KEY
        require(not config.flags & ~known and not any(config.rsvd1), SevStatus.INVALID_PARAM)
        with self._lock:
            facts = self._configuration
            reported = config.reported_tcb or facts.committed_tcb
            require(facts.product.tcb_at_most(reported, facts.committed_tcb), SevStatus.INVALID_PARAM)
            self._report_from_now_on(reported)
            self._configuration = replace(
                facts,
                reported_tcb=reported,
                mask_chip_id=bool(config.flags & MASK_CHIP_ID),
                mask_chip_key=bool(config.flags & MASK_CHIP_KEY),
            )

    def snp_commit(self) -> None:
        """SNP_COMMIT: what runs now is the least that may run from now on."""
        self._require_snp()
        with self._lock:
            facts = self._configuration
            follows = facts.reported_tcb == facts.committed_tcb
            reported = facts.current_tcb if follows else facts.reported_tcb
            self._report_from_now_on(reported)
            self._configuration = replace(facts, committed_tcb=facts.current_tcb, reported_tcb=reported)

    def _report_from_now_on(self, tcb: int) -> None:
        """A loaded hashstick goes when the reported TCB changes: its cloud must load another."""
        self._endorse(tcb)
        if tcb != self._configuration.reported_tcb:
            self._vlek = None

    def snp_vlek_load(self, wrapped: bytes) -> None:
        """SNP_VLEK_LOAD: a hashstick wrapped for this chip, which reaches at least the reported TCB. It takes
        the place of one loaded before."""
        self._require_snp()
        try:
            stick = unwrap(wrapped, self._chip.wrapping_key())
        except ValueError as error:
            raise Refused(SevStatus.INVALID_PARAM) from error
        if stick is None:
            raise Refused(SevStatus.BAD_MEASUREMENT)
        with self._lock:
            facts = self._configuration
            require(facts.product.tcb_valid(stick.tcb), SevStatus.INVALID_PARAM)
            require(facts.product.tcb_at_most(facts.reported_tcb, stick.tcb), SevStatus.INVALID_PARAM)
            self._vlek = stick

    def get_id(self) -> bytes:
        """The chip's identity, 64 bytes: what a report's CHIP_ID and the VCEK's hwID say."""
        return self._chip.chip_id

    # Guests

    def gctx_create(self, memory: GuestMemory) -> GuestContext:
        return GuestContext(memory)

    def launch_start(self, guest: GuestContext, policy: int, gosvw: bytes) -> None:
        """SNP_LAUNCH_START and ACTIVATE: check the policy, take a key slot, draw the memory key."""
        self._require_snp()
        following = next_state(FirmwareCommand.SNP_LAUNCH_START, guest.state)
        facts = self._configuration
        _check_policy(policy, facts)
        key = MemoryKey(aes_256=bool(policy & POLICY_MEM_AES_256_XTS))
        guest.asid = self._take_slot(key)
        guest.memory_key = key
        guest.policy = policy
        guest.gosvw = gosvw
        guest.launch_tcb = facts.current_tcb
        guest.state = following

    def launch_update(
        self,
        guest: GuestContext,
        page_type: int,
        gpa: int,
        size: int,
        data: bytes | memoryview,
        permissions: Permissions = NO_PERMISSIONS,
    ) -> None:
        """SNP_LAUNCH_UPDATE of `size` bytes, whole pages. VMSA pages come by `launch_vmsa`.

        `data` is `size` bytes for NORMAL, UNMEASURED and CPUID, else empty.
        """
        following = next_state(FirmwareCommand.SNP_LAUNCH_UPDATE, guest.state)
        try:
            kind = SnpPageType(page_type)
        except ValueError as error:
            raise Refused(SevStatus.INVALID_PARAM) from error
        require(kind is not SnpPageType.VMSA, SevStatus.INVALID_PARAM)
        require(gpa % PAGE == 0, SevStatus.INVALID_ADDRESS)
        require(size % PAGE == 0 and size > 0, SevStatus.INVALID_LENGTH)
        require(0 <= gpa <= guest.memory.size - size, SevStatus.INVALID_ADDRESS)
        pages = range(gpa // PAGE, (gpa + size) // PAGE)
        require(guest.assigned.isdisjoint(pages), SevStatus.INVALID_PAGE_STATE)
        require(not guest.memory.is_shared(gpa, size), SevStatus.INVALID_PAGE_STATE)
        require(len(data) == (size if kind in _CONTENTS else 0), SevStatus.INVALID_LENGTH)
        self._place(guest, kind, gpa, size, data)
        measured = data if kind is SnpPageType.NORMAL else b""
        guest.launch_digest = self._digests.extend_region(
            guest.launch_digest, kind, gpa, size, measured, permissions
        )
        guest.assigned.update(pages)
        guest.state = following

    def _place(
        self, guest: GuestContext, kind: SnpPageType, gpa: int, size: int, data: bytes | memoryview
    ) -> None:
        """Put the page's contents where the guest will find them. Memory never launched is zero already."""
        if kind is SnpPageType.SECRETS:
            require(size == PAGE, SevStatus.INVALID_LENGTH)
            page = SecretsPage(_SECRETS_VERSION, self._configuration.product.fms, guest.gosvw, guest.vmpck)
            guest.memory.write(gpa, page.encode())
        elif kind is SnpPageType.CPUID:
            require(size == PAGE, SevStatus.INVALID_LENGTH)
            require(correct_cpuid_page(data) == data, SevStatus.INVALID_PARAM)
            guest.memory.write(gpa, data)
        elif data:
            guest.memory.write(gpa, data)
        else:
            guest.memory.zero(gpa, size)

    def correct_cpuid(self, page: bytes | memoryview) -> bytes:
        """What the firmware writes back in place of a CPUID page it refused."""
        return correct_cpuid_page(page)

    def launch_vmsa(self, guest: GuestContext, page: bytes) -> None:
        """SNP_LAUNCH_UPDATE with PAGE_TYPE VMSA: measured at one fixed address, whatever its own."""
        guest.state = next_state(FirmwareCommand.SNP_LAUNCH_UPDATE, guest.state)
        require(len(page) == PAGE, SevStatus.INVALID_LENGTH)
        guest.launch_digest = self._digests.extend_region(
            guest.launch_digest, SnpPageType.VMSA, VMSA_GPA, PAGE, page
        )

    def launch_finish(
        self,
        guest: GuestContext,
        *,
        id_block: bytes | None,
        id_auth: bytes | None,
        auth_key_en: bool,
        vcek_disabled: bool,
        host_data: bytes,
    ) -> None:
        """SNP_LAUNCH_FINISH: check the ID block against what was launched; from now on the guest may run."""
        following = next_state(FirmwareCommand.SNP_LAUNCH_FINISH, guest.state)
        identity = NO_ID_BLOCK
        if id_block is not None and id_auth is not None:
            identity = check_id_block(
                id_block,
                id_auth,
                auth_key_en=auth_key_en,
                launch_digest=guest.launch_digest,
                policy=guest.policy,
            )
        else:
            require(not auth_key_en, SevStatus.INVALID_PARAM)
        guest.id_block = identity
        guest.vcek_disabled = vcek_disabled
        guest.host_data = host_data
        guest.state = following

    def guest_request(self, guest: GuestContext, request_gpa: int, response_gpa: int) -> None:
        """SNP_GUEST_REQUEST: both pages lie in shared memory, are whole, and are not the same."""
        guest.state = next_state(FirmwareCommand.SNP_GUEST_REQUEST, guest.state)
        for gpa in (request_gpa, response_gpa):
            require(gpa % PAGE == 0 and 0 <= gpa <= guest.memory.size - PAGE, SevStatus.INVALID_ADDRESS)
        require(request_gpa != response_gpa, SevStatus.INVALID_ADDRESS)
        for gpa in (request_gpa, response_gpa):
            require(guest.memory.is_shared(gpa, PAGE), SevStatus.INVALID_PAGE_STATE)
        page = guest.memory.read(request_gpa, PAGE)  # once: the host may be writing it
        guest.memory.write(response_gpa, answer(page, guest, self._facts(), self._chip))

    def decommission(self, guest: GuestContext) -> None:
        """SNP_DECOMMISSION: the slot is free once it is flushed. The context's secrets go with it."""
        with self._lock:
            if guest.asid:
                self.slots.release(guest.asid)
                self._guests -= 1
                guest.asid = 0
        guest.state = GuestState.INIT

    def _facts(self) -> PlatformFacts:
        with self._lock:  # a hashstick and the TCB it is for belong together
            facts, vlek = self._configuration, self._vlek
        return PlatformFacts(
            product=facts.product,
            firmware=facts.firmware,
            chip_id=bytes(CHIP_ID_SIZE) if facts.mask_chip_id else self._chip.chip_id,
            platform_info=facts.platform_info,
            current_tcb=facts.current_tcb,
            committed_tcb=facts.committed_tcb,
            reported_tcb=facts.reported_tcb,
            mask_chip_key=facts.mask_chip_key,
            vlek=vlek,
        )

    def _take_slot(self, key: MemoryKey) -> int:
        """An ASID whose last owner's cache lines are gone, with `key` in its slot."""
        asid = self.slots.take(key, es=True)
        with self._lock:
            self._guests += 1
        return asid


def _check_policy(policy: int, facts: Configuration) -> None:
    """SNP firmware ABI 8.16 and 4.3: every refusal is POLICY_FAILURE."""
    known = facts.firmware.policy_bits << _FIRST_POLICY_BIT | _ABI_BITS
    info = facts.platform_info
    require(not policy & ~known and bool(policy & POLICY_MUST_BE_ONE), SevStatus.POLICY_FAILURE)
    wanted = (policy >> 8 & 0xFF, policy & 0xFF)
    require(wanted <= (facts.firmware.major, facts.firmware.minor), SevStatus.POLICY_FAILURE)
    require(bool(policy & POLICY_SMT) or not info & _SMT_EN, SevStatus.POLICY_FAILURE)
    require(not policy & POLICY_RAPL_DIS or bool(info & _RAPL_DISABLED), SevStatus.POLICY_FAILURE)
    hidden = bool(info & _CIPHERTEXT_HIDING_EN)
    require(not policy & POLICY_CIPHERTEXT_HIDING or hidden, SevStatus.POLICY_FAILURE)
