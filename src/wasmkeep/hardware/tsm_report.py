"""The kernel's configfs ``tsm/report``: evidence of the guest this runs in, whatever its TEE (Linux 6.7;
``Documentation/ABI/testing/configfs-tsm-report``).

One request is one entry: a folder that the kernel fills with attributes. Binary attributes take effect when
they are closed, and the kernel does not say so where it refused one then; others may write to the same entry.
Both show in the attribute ``generation``, which counts writes: it is read before the first write, before the
report and after the last blob, and where it is not the number of our own writes, everything begins again with
another entry. An entry is removed whatever happens.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from wasmkeep.errors import PlatformUnavailable, SystemFailure
from wasmkeep.hardware.devices import TSM

__all__ = ["FileCalls", "TsmProvider", "TsmReport", "TsmRequest", "ask", "provider"]

INBLOB_MAX = 64  # bytes (TSM_REPORT_INBLOB_MAX)
PRIVILEGE_LEVEL_MAX = 3  # TSM_REPORT_PRIVLEVEL_MAX
_BLOB_MAX = 16 << 20  # bytes; no kernel gives more (TSM_REPORT_OUTBLOB_MAX: 32 KiB, later 16 MiB)
_TEXT_MAX = 4096  # bytes of a text attribute (configfs SIMPLE_ATTR_SIZE)
_ATTEMPTS = 3
_COUNTER = 1 << 64  # generation is an unsigned long


class FileCalls(Protocol):
    """What of ``os`` is needed here. All raise OSError."""

    def mkdir(self, path: str, mode: int, /) -> None: ...
    def rmdir(self, path: str, /) -> None: ...
    def open(self, path: str, flags: int, /) -> int: ...
    def read(self, descriptor: int, count: int, /) -> bytes: ...
    def write(self, descriptor: int, data: bytes, /) -> int: ...
    def close(self, descriptor: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class TsmRequest:
    """`report_data`: 1 to 64 bytes; SNP and TDX take exactly 64.

    `privilege_level`: 0 to 3, SNP's VMPL; None takes the lowest number that the provider offers. The
    `service_…` fields ask a service below the guest instead, such as ``svsm`` (Linux 6.10; AMD 58019, 7): its
    GUID in text, empty for all services, and the version of the manifest it is to write. Its report is bound
    to SHA-512(`report_data` ‖ manifest).
    """

    report_data: bytes
    privilege_level: int | None = None
    service_provider: str = ""
    service_guid: str = ""
    service_manifest_version: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.report_data) <= INBLOB_MAX:
            raise ValueError("report data has 1 to 64 bytes")
        if self.privilege_level is not None and not 0 <= self.privilege_level <= PRIVILEGE_LEVEL_MAX:
            raise ValueError("a privilege level is 0 to 3")

    def options(self) -> Iterator[tuple[str, str]]:
        """Attributes to write before the report data, in the kernel's names."""
        if self.privilege_level is not None:
            yield "privlevel", str(self.privilege_level)
        if self.service_provider:
            yield "service_provider", self.service_provider
        if self.service_guid:
            yield "service_guid", self.service_guid
        if self.service_manifest_version is not None:
            yield "service_manifest_version", str(self.service_manifest_version)


@dataclass(frozen=True, slots=True)
class TsmReport:
    """`provider`: ``sev_guest`` (`report` is an SNP report, `auxiliary` a certificate table), ``tdx_guest``
    (`report` is a quote) or another. `auxiliary` and `manifest` are empty where there is none.
    """

    provider: str
    report: bytes
    auxiliary: bytes
    manifest: bytes


class TsmProvider(NamedTuple):
    """Who answers here, and the lowest privilege level it offers; None where it has no levels."""

    name: str
    privilege_floor: int | None


class _Raced(Exception):
    """Somebody else used or removed this entry; the text says how that showed."""


def ask(
    request: TsmRequest,
    *,
    folder: str = TSM.path,
    files: FileCalls = os,
    name: Callable[[], str] = lambda: "wasmkeep-" + secrets.token_hex(8),
) -> TsmReport:
    """One report. Blocking: TDX's provider waits for the host's quoting service, 30 seconds at most.

    Raises `PlatformUnavailable` (no such folder, no permission, no provider) and `SystemFailure`
    ``platform.tsm.refused`` (the provider), ``platform.tsm.option`` (no such option here),
    ``platform.tsm.race`` (others kept using our entries), ``platform.tsm.malformed``.
    """
    found = ""
    for _ in range(_ATTEMPTS):
        try:
            with _entry(folder, name(), files) as entry:
                return entry.report(request)
        except _Raced as raced:
            found = str(raced)
    raise SystemFailure(
        "platform.tsm.race",
        "somebody else keeps using our entries of configfs tsm",
        found=f"{found}, {_ATTEMPTS} times",
        required="a report that was asked for by nobody else",
        meaning="only a program with the same rights can do that",
    )


def provider(
    *,
    folder: str = TSM.path,
    files: FileCalls = os,
    name: Callable[[], str] = lambda: "wasmkeep-" + secrets.token_hex(8),
) -> TsmProvider:
    """Who would answer. Makes an entry and removes it; raises as `ask` does."""
    try:
        with _entry(folder, name(), files) as entry:
            return TsmProvider(entry.text("provider"), entry.floor())
    except _Raced as raced:
        raise SystemFailure("platform.tsm.race", "our entry is in use", found=str(raced)) from raced


@contextmanager
def _entry(folder: str, name: str, files: FileCalls) -> Iterator[_Entry]:
    path = f"{folder}/{name}"
    try:
        files.mkdir(path, 0o700)
    except FileExistsError as error:
        raise _Raced("an entry of our name") from error
    except OSError as error:
        raise _unavailable(folder, error) from error
    try:
        yield _Entry(path, files)
    finally:
        with suppress(OSError):  # somebody else removed it, or it stays: the report is not worse for that
            files.rmdir(path)


class _Entry:
    """One request's folder."""

    def __init__(self, path: str, files: FileCalls) -> None:
        self._path, self._files = path, files

    def report(self, request: TsmRequest) -> TsmReport:
        count = self._generation()
        options = dict(request.options())
        if "privlevel" not in options and not request.service_provider and (floor := self.floor()):
            options = {
                "privlevel": str(floor),
                **options,
            }  # the kernel's own default is 0, even below its floor
        for attribute, value in options.items():
            self._write_option(attribute, value)
        if not self._write("inblob", request.report_data):
            raise _Raced("our entry is gone")
        expected = (count + len(options) + 1) % _COUNTER
        self._expect(expected)
        report = self._blob("outblob")
        if report is None:
            raise _Raced("our entry is gone")
        auxiliary, manifest = self._blob("auxblob") or b"", self._blob("manifestblob") or b""
        name = self.text("provider")
        self._expect(expected)
        if not report:
            raise _malformed("an empty report")
        return TsmReport(name, report, auxiliary, manifest)

    def floor(self) -> int | None:
        """The lowest privilege level; None where the provider has none."""
        text = self._read("privlevel_floor", _TEXT_MAX)
        return None if text is None else _number(text)

    def text(self, attribute: str) -> str:
        """A text attribute that every entry has, without its line end."""
        data = self._read(attribute, _TEXT_MAX)
        if data is None:
            raise _Raced("our entry is gone")
        text = data.removesuffix(b"\n")
        if not text.isascii() or not text.decode().isprintable():
            raise _malformed(f"{attribute} {text!r}")
        return text.decode()

    def _generation(self) -> int:
        data = self._read("generation", _TEXT_MAX)
        if data is None:
            raise _Raced("our entry is gone")
        return _number(data)

    def _expect(self, expected: int) -> None:
        if (found := self._generation()) != expected:
            raise _Raced(f"generation {found} instead of {expected}")

    def _write_option(self, attribute: str, value: str) -> None:
        if self._write(attribute, value.encode()):
            return
        raise SystemFailure(
            "platform.tsm.option",
            f"this guest's provider has no {attribute}",
            found=f"provider {self.text('provider')}",
            required=f"a provider that takes {attribute} {value}",
            remedy="leave it out; services below the guest need Linux 6.10 and an SVSM",
        )

    def _write(self, attribute: str, data: bytes) -> bool:
        """All at once: configfs takes no parts. False where there is no such attribute."""
        try:
            descriptor = self._files.open(f"{self._path}/{attribute}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                written = self._files.write(descriptor, data)
            finally:
                self._files.close(descriptor)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EBUSY:  # more writes than numbers: the kernel takes no more before a read
                raise _Raced(f"{attribute} is busy") from error
            raise _refused(f"{attribute} was not taken", error) from error
        if written != len(data):
            raise _malformed(f"{written} of {len(data)} bytes of {attribute} written")
        return True

    def _blob(self, attribute: str) -> bytes | None:
        return self._read(attribute, _BLOB_MAX)

    def _read(self, attribute: str, limit: int) -> bytes | None:
        """All of an attribute; None where there is none."""
        parts: list[bytes] = []
        size = 0
        try:
            descriptor = self._files.open(f"{self._path}/{attribute}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                while size <= limit and (part := self._files.read(descriptor, limit + 1 - size)):
                    parts.append(part)
                    size += len(part)
            finally:
                self._files.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(f"there is no {attribute}", error) from error
        if size > limit:
            raise _malformed(f"more than {limit} bytes of {attribute}")
        return b"".join(parts)


def _number(text: bytes) -> int:
    digits = text.removesuffix(b"\n")
    if not digits.isdigit() or len(digits) > 20:
        raise _malformed(f"{digits!r} instead of a number")
    return int(digits)


def _malformed(found: str) -> SystemFailure:
    return SystemFailure(
        "platform.tsm.malformed", "configfs tsm does not answer as the kernel does", found=found
    )


_REMEDIES = {
    errno.EINVAL: "give exactly 64 bytes of report data, and options that this guest's provider knows",
    errno.EBUSY: "try again in a minute: an earlier quote is still with the host",
    errno.ETIMEDOUT: "see that the host runs its quoting service, then try again",
    errno.EIO: "the host refused it: for TDX it needs a quoting service (QGS) that is set up",
    errno.ENXIO: "load the guest's driver: `modprobe sev-guest` or `modprobe tdx-guest`",
    errno.ENOTTY: "start this guest again: its kernel gave up the message key after a failed exchange",
    errno.EFBIG: "use a newer kernel: the report is larger than this one passes on",
    errno.EACCES: "run it as root",
}


def _refused(message: str, error: OSError) -> SystemFailure:
    number = error.errno or errno.EIO
    return SystemFailure(
        "platform.tsm.refused",
        message,
        found=f"{errno.errorcode.get(number, number)} ({os.strerror(number)})",
        remedy=_REMEDIES.get(number, ""),
    )


def _unavailable(folder: str, error: OSError) -> PlatformUnavailable:
    """Why no entry can be made."""
    if isinstance(error, FileNotFoundError):
        check, message, remedy = "absent", "this computer has no configfs tsm", f"it needs {TSM.needs}"
    elif isinstance(error, PermissionError):
        check, message, remedy = "permission", "this user may not use configfs tsm", "run it as root"
    elif error.errno == errno.ENXIO:
        check, message = "provider", "no driver answers behind configfs tsm"
        remedy = _REMEDIES[errno.ENXIO]
    else:
        check, message, remedy = "unusable", "configfs tsm cannot be used", f"it needs {TSM.needs}"
    return PlatformUnavailable(
        f"platform.tsm.{check}",
        message,
        found=os.strerror(error.errno or 0),
        required=f"an entry in {folder}",
        remedy=remedy,
    )
