"""What is wrong in a policy file is said with its line, and what is required in its place."""

from __future__ import annotations

import pytest

from tests.evidence.test_policy import PIN, read
from wasmkeep.errors import ConfigurationError
from wasmkeep.evidence.roots import AMD_ROOTS

ERRORS: dict[str, tuple[str, str, int, str]] = {
    # name: (text, check, line, words in the message or its parts)
    "mistyped key": ('platfroms = ["snp"]', "policy.unknown-key", 1, "did you mean 'platforms'"),
    "mistyped key in a table": ("\n[snp]\nalias_chek = true", "policy.unknown-key", 3, "'alias_check'"),
    "mistyped table": ("[revokation]\nrequired = true", "policy.unknown-key", 1, "'revocation'"),
    "mistyped model line": ("[snp.minimum_tcb.Geona]\nsnp = 1", "policy.unknown-key", 1, "'Genoa'"),
    "mistyped component": ("[snp.minimum_tcb.Genoa]\n\nfirmware = 1", "policy.unknown-key", 3, "microcode"),
    "nothing like it": ("zzz = 1", "policy.unknown-key", 1, "docs/policy.md"),
    "not TOML": ("platforms = [", "policy.syntax", 0, "not TOML"),
    "too long": ("#" * 300_000, "policy.syntax", 0, "262144"),
    "too deep": ("a = " + "[" * 5000, "policy.syntax", 0, ""),
    "twice": ("cpu = []\ncpu = []", "policy.syntax", 0, "not TOML"),
    "simulated true": ("simulated = true", "policy.simulated", 1, "never true or false"),
    "simulated false": ("\nsimulated = false", "policy.simulated", 2, "never true or false"),
    "simulated word": ('simulated = "yes"', "policy.simulated", 1, "sha256:"),
    "simulated upper case": (f'simulated = "{PIN.upper()}"', "policy.simulated", 1, "sha256:"),
    "simulated short": ('simulated = "sha256:5f"', "policy.simulated", 1, "64"),
    "no platform": ("platforms = []", "policy.value", 1, "at least one"),
    "unknown platform": ('platforms = ["tpm"]', "policy.platform", 1, "not one that wasmkeep knows"),
    "platform to come": ('\nplatforms = ["snp", "cca"]', "policy.platform", 2, "not supported yet"),
    "platforms a string": ('platforms = "snp"', "policy.value", 1, "list"),
    "platform twice": ('platforms = ["snp", "snp"]', "policy.value", 1, "once"),
    "no runtime": ("runtime = []", "policy.value", 1, "at least one"),
    "runtime digest cut": (f'runtime = ["{"ab" * 40}"]', "policy.value", 1, "96"),
    "runtime digest upper case": (f'runtime = ["{"AB" * 48}"]', "policy.value", 1, "lower-case"),
    "runtime control character": ('runtime = ["a\\u0007"]', "policy.value", 1, "wasmkeep 0.1.0"),
    "unknown CPU level": ('cpu = ["x86-64-v1"]', "policy.value", 1, "x86-64-v3"),
    "SEV-SNP on Naples": ('[snp]\ngenerations = ["Naples"]', "policy.value", 2, "Milan, Genoa, Turin"),
    "no generation": ("[snp]\ngenerations = []", "policy.value", 2, "Milan, Genoa, Turin"),
    "no signer": ('[snp]\nsigners = ["none"]', "policy.value", 2, "vcek, vlek"),
    "ABI a number": ("[snp]\nminimum_abi = 1.51", "policy.value", 2, '"1.51"'),
    "ABI too large": ('[snp]\nminimum_abi = "1.256"', "policy.value", 2, '"1.51"'),
    "VMPL out of range": ("[snp]\nmaximum_vmpl = 4", "policy.value", 2, "0 to 3"),
    "number is a flag": ("[snp]\nmaximum_vmpl = true", "policy.value", 2, "0 to 3"),
    "flag is a number": ("[snp]\nalias_check = 1", "policy.value", 2, "true or false"),
    "TCB out of range": ("[snp.minimum_tcb.Genoa]\nsnp = 256", "policy.value", 2, "255"),
    "FMC on Genoa": ("[snp.minimum_tcb.Genoa]\nfmc = 1", "policy.value", 2, "no FMC"),
    "chip cut": ('[snp.chips]\nallow = ["ab"]', "policy.value", 2, "128 or 16"),
    "chip masked": (f'[snp.chips]\ndeny = ["{"00" * 64}"]', "policy.value", 2, "masked"),
    "chip not hexadecimal": (f'[snp.chips]\nallow = ["{"zz" * 64}"]', "policy.value", 2, "hexadecimal"),
    "unknown guest bit": ('[snp.guest_policy]\nallow = ["magic"]', "policy.value", 2, "migration-agent"),
    "required is allowed": ('[snp.guest_policy]\nrequire = ["debug"]', "policy.value", 2, "single-socket"),
    "a table is a value": ("snp = 3", "policy.value", 1, "[snp]"),
    "a value is a table": ("[revocation.required]\nx = 1", "policy.value", 1, "true or false"),
    "integer of 5000 digits": (f"[snp]\nmaximum_vmpl = {'9' * 5000}", "policy.syntax", 0, "not TOML"),
    "huge hexadecimal integer": (f"[snp]\nmaximum_vmpl = 0x{'f' * 5000}", "policy.value", 2, "too large"),
    "huge integer in a list": (f"runtime = [0x{'f' * 5000}]", "policy.value", 1, "too large"),
    "a value nested by a dotted key": (
        f"snp.maximum_vmpl{'.a' * 5000} = 1",
        "policy.value",
        1,
        "too large",
    ),
    "a table nested by a dotted key": (f"snp.chips{'.a' * 5000} = 1", "policy.unknown-key", 1, "snp.chips.a"),
    "nested lists": (f"runtime = {'[' * 5000}{']' * 5000}", "policy.syntax", 0, ""),
    "a line of spaces": (f"[{' ' * 20000}x", "policy.syntax", 0, "not TOML"),
    "SEV build too large": ("[sev]\nminimum_build = 256", "policy.value", 2, "0 to 255"),
    "SEV build a flag": ("[sev]\nminimum_build = true", "policy.value", 2, "0 to 255"),
    "SEV build of no generation": ("[sev.minimum_build]\nGeona = 1", "policy.value", 1, "Genoa"),
    "SEV build a list": ("[sev]\nminimum_build = [1]", "policy.value", 2, "0 to 255"),
    "SEV API a number": ("[sev]\nminimum_api = 0.24", "policy.value", 2, '"0.24"'),
    "owner cut": ('[sev]\nowners = ["ab"]', "policy.value", 2, "64"),
    "unknown SEV bit": ('[sev.guest_policy]\nallow = ["es"]', "policy.value", 2, "key-sharing"),
    "SEV key mistyped": ("[sev]\nowner = []", "policy.unknown-key", 2, "'owners'"),
    "SEV bit always required": (
        '[sev.guest_policy]\nrequire = ["nodbg"]',
        "policy.value",
        2,
        "domain",
    ),
    "denied platform mistyped": ('denied_platforms = ["snpp"]', "policy.value", 1, "sev-es"),
    "every platform denied": (
        'denied_platforms = ["snp"]',
        "policy.platform",
        1,
        "denies every platform",
    ),
    "stepping of no line": ("[snp.steppings]\nGeona = [1]", "policy.value", 1, "Bergamo"),
    "no stepping": ("[snp]\nsteppings = { Genoa = [] }", "policy.value", 2, "at least one"),
    "stepping twice": ("[snp]\nsteppings = { Genoa = [1, 1] }", "policy.value", 2, "each once"),
    "steppings no table": ("[snp]\nsteppings = [1]", "policy.value", 2, "a table"),
    "report version of no generation": (
        "[snp.minimum_report_version]\nNaples = 3",
        "policy.value",
        1,
        "Milan, Genoa, Turin",
    ),
    "mitigations of 65 bits": (
        "[snp.mitigations]\nlaunch = 0x1_0000_0000_0000_0000",
        "policy.value",
        2,
        "0 to",
    ),
    "platform bit mistyped": ('[snp.platform_info]\nforbid = ["smtt"]', "policy.value", 2, "iommu"),
    "report data cut": ('[snp]\nreport_data = ["00"]', "policy.value", 2, "128"),
    "status revoked": ('[tdx]\ntcb_statuses = ["Revoked"]', "policy.value", 2, "UpToDate"),
    "advisory mistyped": ('[sgx]\nadvisories = ["SA-00615"]', "policy.value", 2, "INTEL-SA-00615"),
    "product ids no list": ("[sgx]\nisv_prod_ids = 1", "policy.value", 2, "a list of numbers"),
    "any signer": ("[sgx]\nby_signer = true", "policy.value", 2, "no signer is named"),
    "TDX key mistyped": ("[tdx]\nrtmr4 = []", "policy.unknown-key", 2, "rtmr"),
    "evidence age zero": ("[evidence]\nmax_age_seconds = 0", "policy.value", 2, "from 1"),
    "age zero": ("[revocation]\nmax_age_days = 0", "policy.value", 2, "1 to 3660"),
    **{
        f"{root.name} pinned as a simulator": (
            f'simulated = "{root.pin}"',
            "policy.simulated",
            1,
            "is a vendor's root",
        )
        for root in AMD_ROOTS.values()
    },
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    text, check, line, words = ERRORS[case]
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    error = caught.value
    assert (error.check, error.exit_code) == (check, 67)
    assert error.message.startswith(f"policy.toml:{line}: " if line else "policy.toml: ")
    assert words in str(error)
