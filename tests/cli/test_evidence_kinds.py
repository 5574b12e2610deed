"""Every kind of evidence through the command line: accepted, rejected, unusable; signed and verified."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.cli.conftest import require_images
from tests.endorsements.services import genuine, intel_answers, running
from tests.evidence import dcap_forge, dcap_rows, simulated_rows
from tests.evidence.test_kinds import NOT_JUDGED
from tests.evidence.vectors import FOLDER, authorities, needs_vectors
from tests.evidence.vectors import rows as snp_rows
from wasmkeep.cli.__main__ import main
from wasmkeep.evidence import cmw
from wasmkeep.evidence.pem import encode_certificate
from wasmkeep.evidence.snp.table import CertificateTable, encode
from wasmkeep.protocol import binding
from wasmkeep.tenant import receipt_file

GENOA = "snp/genoa-v3-vcek"
TDX = "tdx/v5-uptodate"
Json = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> list[Json]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `wasmkeep evidence …` in this process, in a folder of its own, with its own state and cache."""
    require_images()
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)

    def command(*words: str | Path, stdin: bytes = b"") -> Said:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        code = main(["evidence", *map(str, words)])
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return command


def at(name: str) -> str:
    row = snp_rows().get(name) or dcap_rows.rows()[name]
    return str(row.expected["verify_at"])


def plain(name: str) -> tuple[str, ...]:
    return ("--policy", "plain", "--at", at(name))


def extended(name: str = GENOA, *, authority: bool = True) -> bytes:
    """A row's report as the kernel gives an extended one."""
    evidence = snp_rows()[name].evidence()
    ask, ark = evidence.chain if authority else (None, None)
    table = encode(CertificateTable(vcek=evidence.vcek, ask=ask, ark=ark))
    return evidence.report + table.ljust(0x4000, b"\0")


@needs_vectors
@pytest.mark.parametrize("name", [TDX, "tdx/v4-uptodate", GENOA, "snp/milan-v2-azure-vtpm"])
def test_a_folder_of_real_evidence_is_accepted(run: Run, name: str) -> None:
    roots = ("--endorsements", FOLDER / "snp/ca-roots")
    said = run("verify", FOLDER / name, *roots, *plain(name))
    assert said.code == 0, said.err
    assert said.out.startswith("accepted: ")
    assert "not bound to any session" in said.out
    assert ("RTMR3" in said.out) == name.startswith("tdx")
    claims = run("verify", FOLDER / name, *roots, *plain(name), "--json").facts
    assert [one["verdict"] for one in claims] == ["accepted"]
    assert claims[0]["ear_verifier_id"]["developer"] == "wasmkeep"


@needs_vectors
@pytest.mark.parametrize(
    ("name", "check", "kind"),
    [
        ("tdx/v4-debug", "tdx.attributes.debug", "refused"),
        ("tdx/v5-no-tcb-level", "dcap.tcb.level", "refused"),
        ("sgx/v3-debug", "sgx.attributes.debug", "refused"),
        ("snp/milan-v2-debug", "snp.policy.debug", "refused"),
        ("snp/milan-v2-wrong-vcek", "snp.signature", "untrusted"),
    ],
)
def test_a_trap_is_rejected_in_words_and_in_json(run: Run, name: str, check: str, kind: str) -> None:
    words = (FOLDER / name, "--endorsements", FOLDER / "snp/ca-roots", *plain(name))
    said = run("verify", *words)
    assert (said.code, said.out) == (77, "")
    assert said.err.startswith("refused: ") or "WARNING" in said.err
    said = run("verify", *words, "--json")
    assert said.code == 77
    [verdict] = said.facts
    assert verdict["verdict"] == "rejected"
    findings = {one["check"]: one for one in verdict["findings"]}
    fields = {"check", "kind", "message", "found", "required", "section", "meaning", "advice"}
    assert all(one.keys() == fields for one in findings.values())
    assert check in findings
    assert findings[check]["section"]


@needs_vectors
def test_an_extended_report_is_enough(run: Run) -> None:
    Path("extended.bin").write_bytes(extended())
    said = run("verify", "extended.bin", *plain(GENOA))
    assert said.code == 0, said.err
    assert "root sha256:429a69c9" in said.out
    Path("part.bin").write_bytes(extended(authority=False))
    assert "snp.chain.missing" in run("verify", "part.bin", *plain(GENOA)).err
    assert run("verify", "part.bin", "--endorsements", FOLDER / "snp/ca-roots", *plain(GENOA)).code == 0


@needs_vectors
@pytest.mark.parametrize("form", cmw.Form)
@pytest.mark.parametrize("name", [GENOA, TDX])
def test_a_collection_on_standard_input(run: Run, name: str, form: cmw.Form) -> None:
    row = snp_rows().get(name)
    evidence = row.evidence() if row else dcap_rows.evidence_of(dcap_rows.rows()[name])
    data = cmw.encode(cmw.EvidenceCollection(evidence), form)
    said = run("verify", "-", *plain(name), stdin=data)
    assert said.code == 0, said.err
    assert said.out.startswith("accepted: standard input")
    shown = run("show", "-", "--json", stdin=data)
    assert shown.code == 0
    assert {one["file"] for one in shown.facts} == {"standard input"}
    cut = run("verify", "-", *plain(name), stdin=data[:-1])
    assert cut.code in (66, 77)


@needs_vectors
def test_several_are_all_judged(run: Run) -> None:
    """One that is rejected does not hide the others; the exit code says that not all was well."""
    words = [FOLDER / TDX, FOLDER / "tdx/v4-debug/quote.bin", *plain(TDX)]
    said = run("verify", *words)
    assert said.code == 77
    assert said.out.splitlines()[0].startswith("accepted: ")
    assert any(line.startswith("rejected: ") for line in said.out.splitlines())
    facts = run("verify", *words, "--json").facts
    assert [one["verdict"] for one in facts] == ["accepted", "rejected"]
    assert len(facts[1]["findings"]) > 1


@pytest.mark.parametrize("name", NOT_JUDGED)
def test_what_is_known_and_not_judged(run: Run, name: str) -> None:
    data, kind, check, words = NOT_JUDGED[name]
    Path("evidence").write_bytes(data)
    for command in ("verify", "show"):
        said = run(command, "evidence")
        assert (said.code, said.out) == (77, "")
        assert check in said.err
        assert words in said.err
    [verdict] = run("verify", "evidence", "--json").facts
    assert [(one["check"], one["kind"], one["found"]) for one in verdict["findings"]] == [
        (check, "unsupported", str(kind))
    ]


@needs_vectors
@pytest.mark.parametrize("name", ["nitro/production-2025", "cca/tf-rmm-token", "cca/draft-ffm-00-token"])
def test_real_evidence_that_is_not_judged(run: Run, name: str) -> None:
    said = run("verify", FOLDER / name)
    assert said.code == 77
    assert "known, not supported yet" in said.err
    assert "platform.unsupported" in said.err


@pytest.mark.parametrize("data", [b"", b"hello", b"{}", bytes(1000), b"0\x82\1\0" + bytes(256)])
def test_what_is_unusable(run: Run, data: bytes) -> None:
    Path("x").write_bytes(data)
    Path("folder").mkdir()
    assert run("verify", "x").code == 66
    assert run("verify", "-", stdin=data).code == 66
    assert run("verify", "absent").code == 66
    assert run("verify", "folder").code == 66
    assert "nothing that evidence is made of" in run("verify", "-", stdin=data).err


@needs_vectors
def test_the_authority_that_signed_is_chosen(run: Run) -> None:
    """Two ASKs of one name, one of them revoked: the folder's order does not matter."""
    row = FOLDER / "snp/genoa-revoked-ask"
    for order in (
        (FOLDER / "snp/ca-roots", row / "ask-revoked.der"),
        (row / "ask-revoked.der", FOLDER / GENOA),
    ):
        said = run("verify", FOLDER / GENOA, *order, "--endorsements", FOLDER / "snp/ca-roots", *plain(GENOA))
        assert said.code == 0, said.err


@needs_vectors
def test_the_collateral_of_the_platform_is_chosen(run: Run) -> None:
    others = [
        FOLDER / "sgx/v3-debug/collateral.json",
        FOLDER / "tdx/v4-uptodate-fmspc-20a06f/collateral.json",
    ]
    said = run("verify", *others, FOLDER / TDX, *plain(TDX))
    assert said.code == 0, said.err


@needs_vectors
def test_a_quote_without_collateral_is_refused_and_a_service_gives_it(run: Run) -> None:
    quote = FOLDER / TDX / "quote.bin"
    assert "dcap.collateral.missing" in run("verify", quote, *plain(TDX)).err
    collateral = genuine(TDX)
    fmspc = bytes.fromhex(json.loads(collateral.tcb_info)["fmspc"])
    with running(intel_answers(collateral, fmspc=fmspc)) as service:
        said = run("verify", quote, "--endorsements", service.url, *plain(TDX))
        assert said.code == 0, said.err
        assert service.requests
    with running({}) as service:
        service.fault = "500"
        said = run("verify", quote, "--endorsements", service.url, *plain(TDX))
    assert said.code == 68, "no verdict without what it needs"
    assert not said.out


@pytest.mark.parametrize("name", ["turin-v5-vcek", "turin-v5-vlek", "genoa-v5-vlek"])
def test_a_cloud_guests_extended_report(run: Run, name: str) -> None:
    """VCEK or VLEK in the table, the authorities from a folder, Turin among them."""
    row = simulated_rows.row(name)
    ask, ark = row.chain
    is_vlek = "vlek" in name
    table = CertificateTable(
        vcek=None if is_vlek else row.certificate, vlek=row.certificate if is_vlek else None
    )
    Path("extended.bin").write_bytes(row.report + encode(table))
    Path("chain").mkdir()
    Path("chain/ca.pem").write_text(encode_certificate(ask) + encode_certificate(ark))
    pin = row.policy().simulated
    assert pin is not None
    moment = simulated_rows.AT.isoformat()
    words = ("--policy", "plain", "--simulated", pin, "--at", moment, "--endorsements", "chain")
    said = run("verify", "extended.bin", *words)
    assert said.code == 0, said.err
    assert "SIMULATED" in said.out


def keys() -> Iterator[tuple[str, bytes, bytes]]:
    for key in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        yield (
            type(key).__name__,
            private,
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        )


@pytest.mark.parametrize("form", ["jwt", "cwt"])
@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_a_signed_result_is_issued_and_verified_again(run: Run, form: str, tee: str) -> None:
    machine = dcap_forge.tdx() if tee == "tdx" else dcap_forge.sgx()
    Path("evidence.cmw").write_bytes(cmw.encode(cmw.EvidenceCollection(machine.evidence()), cmw.Form.CBOR))
    for _, private, public in keys():
        Path("key.pem").write_bytes(private)
        Path("public.pem").write_bytes(public)
        moment = dcap_forge.AT.isoformat()
        words = ["--policy", "plain", "--simulated", dcap_forge.pin(), "--at", moment]
        signing = ["--ear", "token", "--ear-key", "key.pem", "--ear-format", form, "--ear-nonce", "ab" * 16]
        said = run("verify", "evidence.cmw", *words, *signing)
        assert said.code == 0, said.err
        assert f"token ({Path('token').stat().st_size} B, {form})" in said.err
        said = run("ear", "token", "--key", "public.pem", "--nonce", "ab" * 16, "--max-age", "3600")
        assert said.code == 0, said.err
        assert f"{form.upper()} signed by sha256:" in said.out
        assert f"{tee}         contraindicated" in said.out, "a simulated machine"
        [facts] = run("ear", "-", "--key", "public.pem", "--json", stdin=Path("token").read_bytes()).facts
        assert (facts["verified"], facts["status"], facts["format"]) == (True, "contraindicated", form)
        assert facts["claims"]["submods"][tee]["ear_attester_claims"]["wasmkeep_tcb_status"] == "UpToDate"
        assert run("ear", "token", "--key", "public.pem", "--nonce", "cd" * 16).code == 77
        assert run("ear", "token", "--key", "public.pem", "--at", "2020-01-01").code == 77
        Path("token").write_bytes(Path("token").read_bytes()[:-1])
        assert run("ear", "token", "--key", "public.pem").code == 77


@needs_vectors
def test_nothing_is_signed_that_was_not_accepted(run: Run) -> None:
    _, private, public = next(keys())
    Path("key.pem").write_bytes(private)
    Path("public.pem").write_bytes(public)
    signing = ("--ear", "token", "--ear-key", "key.pem")
    said = run("verify", FOLDER / "tdx/v4-debug", *plain("tdx/v4-debug"), *signing)
    assert said.code == 77
    assert not Path("token").exists()
    assert run("verify", FOLDER / TDX, *plain(TDX), "--ear", "token").code == 64
    assert run("verify", FOLDER / TDX, *plain(TDX), "--ear", "token", "--ear-key", "public.pem").code == 67
    assert run("verify", FOLDER / TDX, FOLDER / GENOA, *plain(TDX), *signing).code == 64
    assert run("verify", FOLDER / TDX, *plain(TDX), "--ear", "no/token", "--ear-key", "key.pem").code == 73
    assert run("ear", "key.pem", "--key", "public.pem").code == 77
    assert run("ear", "absent", "--key", "public.pem").code == 66


@needs_vectors
def test_every_vector_is_explained_or_refused_by_name(run: Run) -> None:
    for name in ("tdx", "sgx", "sev/milan-chain", "snp"):
        said = run("show", FOLDER / name, "--json")
        assert said.code == 0, said.err
        assert not any(one["verified"] for one in said.facts)
        assert all(one["fields"] for one in said.facts)
    shown = run("show", FOLDER / TDX).out
    for words in ("Intel TDX quote, version 5", "MRTD", "RTMR3", "no service TD", "FMSPC", "PCK CRL"):
        assert words in shown
    wrapped = run("show", FOLDER / "snp/milan-v2-azure-vtpm/hcl-report.bin").out
    assert "claimed by the report yes" in wrapped
    ark = authorities("Genoa")[1]
    Path("ark.der").write_bytes(ark)
    assert "a root: policies pin it" in run("show", "ark.der").out


@needs_vectors
def test_the_evidence_in_a_receipt(run: Run) -> None:
    """The evidence alone is judged; the receipt around it is another command's."""
    sizes = (32, 32, binding.RECEIVING_KEY_SIZE, 32, 32)
    bound = receipt_file.Binding("snp", *(bytes(size) for size in sizes)).encode()
    collection = cmw.encode(cmw.EvidenceCollection(snp_rows()[GENOA].evidence(), bound))
    data = receipt_file.encode(tee="snp", evidence=collection, launch=b"launch", receipt=b"receipt")
    Path("a.receipt").write_bytes(data)
    said = run("verify", "a.receipt", *plain(GENOA))
    assert said.code == 0, said.err
    assert said.out.startswith("accepted: a.receipt")
    assert run("show", "-", stdin=data).out.startswith("AMD SEV-SNP attestation report, version 3, Genoa")
    cut = run("verify", "-", *plain(GENOA), stdin=data[:-1])
    assert cut.code in (66, 76, 77)


@needs_vectors
def test_what_cannot_be_sorted_is_a_verdict_too(run: Run) -> None:
    broken = json.loads((FOLDER / TDX / "collateral.json").read_text()) | {"pck_crl": "xyz"}
    Path("collateral.json").write_text(json.dumps(broken))
    said = run("verify", FOLDER / TDX / "quote.bin", "collateral.json", *plain(TDX), "--json")
    assert said.code == 77
    assert [one["findings"][0]["check"] for one in said.facts] == ["dcap.collateral.malformed"]
