"""Two implementations, one protocol: the keep's half in Zig and the tenant's in Python agree, both ways."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.protocol import session_vectors as vectors
from wasmkeep.errors import SessionError
from wasmkeep.protocol import binding, records, statements
from wasmkeep.protocol.records import RecordType
from wasmkeep.protocol.statements import Exited

KEEP = vectors.FOLDER.parent
BUILD = KEEP.parents[1] / "build"


def opener() -> records.Opener:
    session = vectors.read(vectors.FROM_TENANT)["session_id"]
    return records.Opener(binding.to_tenant_key(vectors.SECRET, session, vectors.KEEP_SALT))


def test_the_keeps_records_open_in_their_order() -> None:
    keep = vectors.read(vectors.FROM_KEEP)
    message = keep["launched"] + keep["stdout"] + keep["receipted"]
    assert list(opener().open_message(message)) == [
        (RecordType.LAUNCHED, keep["launch"]),
        (RecordType.STDOUT, b"what a program says"),
        (RecordType.RECEIPT, keep["receipt"]),
    ]


@pytest.mark.parametrize("first", ["stdout", "receipted"])
def test_and_in_no_other(first: str) -> None:
    with pytest.raises(SessionError):
        list(opener().open_message(vectors.read(vectors.FROM_KEEP)[first]))


def test_the_keeps_statements_say_what_it_meant() -> None:
    keep = vectors.read(vectors.FROM_KEEP)
    session = vectors.read(vectors.FROM_TENANT)["session_id"]
    launch = statements.verify_launch(keep["launch"], vectors.receipt_key(), session)
    receipt = statements.verify_receipt(keep["receipt"], vectors.receipt_key(), session)
    assert receipt.launch == launch
    assert (launch.tee, launch.measurement, launch.program_digest) == ("snp", b"\1" * 48, b"\2" * 32)
    assert launch.target == "wasmtime 50.0.1 x86_64-unknown-linux-gnu x86-64-v3"
    assert launch.configuration_digest == b"\3" * 32
    assert launch.arguments_digest == b"\4" * 32
    assert launch.environment_digest == b"\5" * 32
    assert launch.files_digest == b"\6" * 32
    assert (launch.memory_limit, launch.started_ns) == (1 << 28, 1_800_000_000_000_000_000)
    assert launch.tenant_key_digest == b"\7" * 32
    assert receipt.outcome == Exited(0xFFFF_FFFF)
    assert (receipt.stdin.digest, receipt.stdin.length) == (b"\x08" * 32, 0)
    assert (receipt.stdout.digest, receipt.stdout.length) == (b"\x09" * 32, 23)
    assert (receipt.stderr.digest, receipt.stderr.length) == (b"\x0a" * 32, (1 << 64) - 1)
    assert (receipt.elapsed_ns, receipt.peak_memory, receipt.exits) == (1_000_000_007, 65_536, 24)


def test_a_keep_on_sev_es_speaks_to_its_tenant() -> None:
    keep, tenant = vectors.read(vectors.FROM_KEEP), vectors.read(vectors.FROM_TENANT)
    session = vectors.PRE_ATTESTED_SESSION
    secret = vectors.SECRET + tenant["launch_secret_sev_es"]
    direction = binding.to_tenant_key(secret, session, vectors.KEEP_SALT)
    ((kind, payload),) = records.Opener(direction).open_message(keep["pre_attested_launched"])
    assert (kind, payload) == (RecordType.LAUNCHED, keep["pre_attested_launch"])
    launch = statements.verify_launch(payload, vectors.receipt_key(), session)
    assert (launch.tee, launch.measurement, launch.program_digest) == ("sev-es", b"", b"\2" * 32)
    without = binding.to_tenant_key(vectors.SECRET, session, vectors.KEEP_SALT)
    with pytest.raises(SessionError):
        list(records.Opener(without).open_message(keep["pre_attested_launched"]))


def test_the_tenants_vectors_are_what_the_code_makes() -> None:
    """All but the encapsulation, and what follows from it, which is fresh each time."""
    recorded, made = vectors.read(vectors.FROM_TENANT), vectors.from_tenant()
    assert made.keys() == recorded.keys()
    fixed = ("receiving_key", "receipt_key", "tenant_key", "report_data", "salted_digest")
    for name in (*fixed, *vectors.pre_attested()):
        assert made[name] == recorded[name]
    assert made["hpke_message"] != recorded["hpke_message"]
    assert len(made["hpke_message"]) == len(recorded["hpke_message"])


def test_the_keeps_vectors_are_what_its_code_makes(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="the Zig compiler is not installed")
    (tmp_path / "options.zig").write_text(
        "pub const machine = .testing;\npub const tee = .snp;\npub const fuzz_count = 1;\n"
    )
    processor = runpy.run_path(str(KEEP.parent / "build.py"))["PROCESSOR"]
    command = [sys.executable, "-m", "ziglang", "build-exe", "-target", "x86_64-linux-musl", "-OReleaseSafe"]
    command += ["-mcpu", processor]
    command += ["--dep", "options", f"-Mroot={KEEP / 'session_vectors.zig'}"]
    command += [f"-Moptions={tmp_path / 'options.zig'}", f"-femit-bin={tmp_path / 'vectors'}"]
    command += ["--cache-dir", str(BUILD / "zig-cache"), "--global-cache-dir", str(BUILD / "zig-cache")]
    subprocess.run(command, check=True)
    printed = subprocess.run([tmp_path / "vectors"], check=True, capture_output=True).stderr.decode()
    recorded = [line for line in vectors.FROM_KEEP.read_text().splitlines() if not line.startswith("#")]
    assert printed.splitlines() == recorded
