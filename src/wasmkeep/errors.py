"""The error tree: every refusal names the check, what was found, what was required and what to do.

::

    WasmkeepError
     ├─ UsageError           64  the command line is wrong
     ├─ ProgramError         65  not wasm, unsupported feature, missing import, malformed module
     ├─ InputError           66  a file of the user's is missing or unreadable
     ├─ ConfigurationError   67  Keep.toml or policy is wrong
     ├─ HostUnreachable      68  down, or not a wasmkeep host
     ├─ PlatformUnavailable  69  no TEE that wasmkeep can use
     ├─ HostRefused          71  the host said no: token, limits, unknown image
     ├─ SessionError         72  the session broke: cut, altered, out of order, incomplete
     ├─ OutputError          73  a result could not be written
     ├─ SystemFailure        74  the operating system said no: port taken, permission
     ├─ TimedOut             75  nothing arrived in time
     ├─ ReceiptInvalid       76  a receipt does not verify
     ├─ Rejected             77  evidence refused (defined in wasmkeep.evidence.errors)
     ├─ PackageRefused       78  the keep refused the package
     ├─ RevokedSince         79  valid at the time of the run, revoked or denied since
     └─ TenantOnly           80  a receipt that convinces its tenant only, without what that tenant keeps

70 is an error of wasmkeep's own (a bug). A program's own exit code may be any number, so ``--json`` and
the receipt say whose it was.
"""

from __future__ import annotations

from typing import ClassVar


class WasmkeepError(Exception):
    """A refusal or failure, in fields; the text a person reads is made from them.

    ``check`` is a stable identifier such as ``snp.measurement``; ``message`` one line in the user's words;
    ``found``, ``required``, ``meaning`` and ``remedy`` may be empty where they have nothing to say.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        check: str,
        message: str,
        *,
        found: str = "",
        required: str = "",
        meaning: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(message)
        self.check = check
        self.message = message
        self.found = found
        self.required = required
        self.meaning = meaning
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.message]
        for label in ("found", "required", "meaning"):
            value = getattr(self, label)
            if value:
                parts.append(f"{label} {value}")
        if self.remedy:
            parts.append(f"next: {self.remedy}")
        return "; ".join(parts)


class UsageError(WasmkeepError):
    exit_code = 64


class ProgramError(WasmkeepError):
    exit_code = 65


class InputError(WasmkeepError):
    exit_code = 66


class ConfigurationError(WasmkeepError):
    exit_code = 67


class HostUnreachable(WasmkeepError):
    exit_code = 68


class PlatformUnavailable(WasmkeepError):
    exit_code = 69


class HostRefused(WasmkeepError):
    exit_code = 71


class SessionError(WasmkeepError):
    exit_code = 72


class OutputError(WasmkeepError):
    exit_code = 73


class SystemFailure(WasmkeepError):
    exit_code = 74


class TimedOut(WasmkeepError):
    exit_code = 75


class ReceiptInvalid(WasmkeepError):
    exit_code = 76


class PackageRefused(WasmkeepError):
    exit_code = 78


class RevokedSince(WasmkeepError):
    exit_code = 79


class TenantOnly(WasmkeepError):
    exit_code = 80
