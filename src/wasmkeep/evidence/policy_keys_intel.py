"""The keys of a policy file for Intel TDX and Intel SGX (`policy_keys` says what a key is)."""

from __future__ import annotations

from wasmkeep.evidence import policy_values as read
from wasmkeep.evidence.dcap.policy import TCB_STATUSES
from wasmkeep.evidence.policy_keys import Key, Table, among, amount, shown, switch

__all__ = ["INTEL"]

_U64 = (1 << 64) - 1
_NOT_COMPARED = "is not compared"


def _statuses(values: tuple[str, ...]) -> str:
    return f"the platform's TCB status must be {' or '.join(values)}; a revoked one never passes"


def _tcb_statuses(parts: str) -> Key:
    """``parts`` are what the status covers."""
    return Key(
        "tcb_statuses",
        "tcb_statuses",
        read.choice(*TCB_STATUSES),
        "TCB statuses accepted, converged over "
        + parts
        + ": "
        + ", ".join(f"`{status}`" for status in TCB_STATUSES)
        + ". `Revoked`, and a platform that matches no TCB level, are refused whatever is here.",
        _statuses,
    )


_PLATFORM = (
    Key(
        "advisories",
        "advisories",
        read.advisories,
        "Security advisories (`INTEL-SA-00615`) that may apply to an accepted platform.",
        lambda values: (
            f"these security advisories may apply to the platform: {shown(values)}; others refuse it"
            if values
            else "no security advisory may apply to the platform, unless any may"
        ),
    ),
    Key(
        "any_advisory",
        "any_advisory",
        read.flag,
        "Any security advisory may apply: the status alone decides.",
        switch(
            "ANY security advisory may apply to the platform: its status alone decides",
            "a security advisory that is not listed refuses the platform",
        ),
    ),
    Key(
        "max_collateral_age_days",
        "max_collateral_age_days",
        read.number(1, 3660),
        "Refuse TCB info, QE identity and revocation lists that were issued longer ago, 1 to 3660. "
        "Intel's are good for 30 days by themselves, and are refused once out of date.",
        "TCB info, QE identity and revocation lists must have been issued at most {} days before".format,
    ),
    Key(
        "minimum_tcb_evaluation",
        "minimum_tcb_evaluation",
        read.number(0, 0xFFFF_FFFF),
        "Lowest `tcbEvaluationDataNumber` of TCB info and QE identity: which round of Intel's updates "
        "they know of.",
        amount(
            "TCB info and QE identity must be of evaluation {} or later", "any evaluation that is in date"
        ),
    ),
    Key(
        "smt",
        "smt",
        read.flag,
        "Accept platforms whose certificate says that SMT is on.",
        switch("SMT may be on", "SMT must be off, by the platform's certificate"),
    ),
    Key(
        "dynamic_platform",
        "dynamic_platform",
        read.flag,
        "Accept platforms that can be extended with further processor packages.",
        switch(
            "the platform may take further processor packages",
            "the platform must not take further processor packages",
        ),
    ),
    Key(
        "cached_keys",
        "cached_keys",
        read.flag,
        "Accept platforms whose root keys are cached by Intel's registration service.",
        switch(
            "the platform's root keys may be cached by Intel's registration service",
            "the platform's root keys must not be cached by Intel's registration service",
        ),
    ),
    Key(
        "fmspcs",
        "fmspcs",
        read.hexadecimal(6),
        "Kinds of platform (FMSPC: family, model, stepping, platform, customisation), 12 digits each. "
        "Empty: any.",
        among("the FMSPC", "any kind of platform (FMSPC)"),
    ),
    Key(
        "platforms",
        "platforms",
        read.hexadecimal(16),
        "Platform instance ids, as the PCK certificate has them, 32 digits each. Empty: any platform, "
        "and every screen says so.",
        among("the platform instance", "any platform instance"),
    ),
    Key(
        "report_data",
        "report_data",
        read.hexadecimal(64),
        "Report data, 128 digits each, where it is known beforehand. Empty: the session alone decides.",
        among("the report data", "the report data must fit the session; nothing else is asked of it"),
    ),
)
"""What TDX and SGX have in common beside."""


def _digest(name: str, what: str) -> Key:
    return Key(
        name,
        name,
        read.hexadecimal(48),
        f"{what}, 96 digits each. Empty: not compared.",
        among(f"{name.upper()} ({what})", f"{name.upper()} ({what}) {_NOT_COMPARED}"),
    )


_TDX = Table(
    "tdx",
    (
        _tcb_statuses("the platform, the quoting enclave and the TDX module"),
        *_PLATFORM,
        Key(
            "debug",
            "debug",
            read.flag,
            "Accept trust domains in debug mode: the host can read them.",
            switch("debug mode is ACCEPTED: the host may read and write the keep's memory", "no debug mode"),
        ),
        Key(
            "migratable",
            "migratable",
            read.flag,
            "Accept trust domains that may be migrated to another platform.",
            switch(
                "the trust domain may be migrated to another platform", "no migration to another platform"
            ),
        ),
        Key(
            "sept_ve",
            "sept_ve",
            read.flag,
            "Accept that SEPT_VE_DISABLE is clear: the host can make the guest take #VE on its private "
            "memory.",
            switch(
                "SEPT_VE_DISABLE may be clear: the host can raise #VE on accesses to private memory",
                "SEPT_VE_DISABLE must be set",
            ),
        ),
        Key(
            "perfmon",
            "perfmon",
            read.flag,
            "Accept trust domains that use performance monitoring.",
            switch("performance monitoring may be on", "no performance monitoring"),
        ),
        Key(
            "key_locker",
            "key_locker",
            read.flag,
            "Accept trust domains that use Key Locker.",
            switch("Key Locker may be on", "no Key Locker"),
        ),
        Key(
            "unknown_attributes",
            "unknown_attributes",
            read.flag,
            "Accept TD attributes that this version does not know.",
            switch("unknown TD attributes are accepted", "no unknown TD attributes"),
        ),
        Key(
            "service_td",
            "service_td",
            read.flag,
            "Accept that a service TD (a migration TD, say) is bound, which nobody appraises.",
            switch(
                "a service TD may be bound, which nobody appraises",
                "no service TD may be bound (MRSERVICETD must be zero)",
            ),
        ),
        Key(
            "xfam_allow",
            "xfam_allow",
            read.number(0, _U64),
            "Mask of the XFAM bits (extended processor state) that may be set, such as `0x602e7`. Absent: "
            "any.",
            lambda mask: (
                "any extended processor state (XFAM)"
                if mask is None
                else f"XFAM may have the bits {mask:#x} only"
            ),
            mask=True,
        ),
        Key(
            "xfam_require",
            "xfam_require",
            read.number(0, _U64),
            "Mask of the XFAM bits that must be set. x87 and SSE (`0x3`) always are.",
            "XFAM must have the bits {:#x}".format,
            mask=True,
        ),
        _digest("rtmr0", "virtual firmware's configuration"),
        _digest("rtmr1", "boot loader and kernel"),
        _digest("rtmr2", "the operating system's own"),
        _digest("rtmr3", "for applications"),
        _digest("mrseam", "the TDX module"),
        _digest("mrconfigid", "configuration that the launch named"),
        _digest("mrowner", "owner that the launch named"),
        _digest("mrownerconfig", "owner's configuration that the launch named"),
        Key(
            "minimum_module_svn",
            "minimum_module_svn",
            read.number(0, 0xFF),
            "Lowest security version of the TDX module (TEE_TCB_SVN, byte 0), beside what the TCB status "
            "says.",
            amount(
                "the TDX module must have security version {} or higher",
                "no further minimum for the TDX module",
            ),
        ),
    ),
)

_SGX = Table(
    "sgx",
    (
        _tcb_statuses("the platform and the quoting enclave"),
        *_PLATFORM,
        Key(
            "debug",
            "debug",
            read.flag,
            "Accept debug enclaves: the host can read them.",
            switch(
                "debug enclaves are ACCEPTED: the host may read and write their memory", "no debug enclave"
            ),
        ),
        Key(
            "by_signer",
            "by_signer",
            read.flag,
            "Let `sgx.mrsigners`, `sgx.isv_prod_ids` and `sgx.minimum_isv_svn` decide in place of MRENCLAVE: "
            "whatever that signer has signed is then accepted. `sgx.mrsigners` must then name one.",
            switch(
                "any enclave of the signers listed is accepted, not one measurement (MRENCLAVE)",
                "the enclave's measurement (MRENCLAVE) must be named in `runtime`",
            ),
        ),
        Key(
            "provision_key",
            "provision_key",
            read.flag,
            "Accept enclaves that may use the provisioning key, which identifies the platform.",
            switch(
                "the enclave may use the provisioning key", "the enclave must not use the provisioning key"
            ),
        ),
        Key(
            "mrsigners",
            "mrsigners",
            read.hexadecimal(32),
            "MRSIGNER (SHA-256 of the signer's key), 64 digits each. Empty: not compared.",
            among("MRSIGNER", f"MRSIGNER {_NOT_COMPARED}"),
        ),
        Key(
            "isv_prod_ids",
            "isv_prod_ids",
            read.numbers(0, 0xFFFF),
            "ISVPRODID, 0 to 65535 each. Empty: any.",
            among("ISVPRODID", "any ISVPRODID"),
        ),
        Key(
            "minimum_isv_svn",
            "minimum_isv_svn",
            read.number(0, 0xFFFF),
            "Lowest ISVSVN.",
            amount("ISVSVN must be {} or higher", "any ISVSVN"),
        ),
    ),
)

INTEL = (_TDX, _SGX)
