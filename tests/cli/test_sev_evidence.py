"""SEV's evidence offline: real platforms' certificates, judged and explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import User, require_images
from tests.evidence.forge import Forge
from tests.evidence.sev_forge import SEV_KEYS, SevForge
from wasmkeep.evidence import cmw

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "sev"
MILAN, NAPLES = VECTORS / "milan-chain", VECTORS / "naples-chain"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason="the evidence vectors are not here")


@pytest.fixture(autouse=True)
def images() -> None:
    require_images()


@pytest.fixture(scope="module")
def sev_forge() -> SevForge:
    """A platform of the tests' own; its RSA keys are the only slow ones."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    ark, ask = (rsa.generate_private_key(public_exponent=65537, key_size=4096) for _ in range(2))
    return SevForge.of(Forge(ark, ask, ec.generate_private_key(ec.SECP384R1())))


def policy(user: User, text: str) -> str:
    (user.home / "policy.toml").write_text(text)
    return "policy.toml"


def accepting(user: User, generation: str, more: str = "") -> list[str]:
    return [
        "--policy",
        policy(user, f'platforms = ["sev-es"]\n[sev]\ngenerations = ["{generation}"]\n{more}'),
    ]


@needs_vectors
@pytest.mark.parametrize(("folder", "generation"), [(MILAN, "Milan"), (NAPLES, "Naples")])
def test_a_real_platforms_certificates_verify(user: User, folder: Path, generation: str) -> None:
    for paths in ([folder], sorted(folder.iterdir())):
        done = user.run("evidence", "verify", *paths, *accepting(user, generation))
        said = done.stdout.decode()
        assert done.returncode == 0, done.stderr.decode()
        assert said.startswith("genuine: a SEV platform's certificates")
        assert f"AMD SEV · {generation}" in said
        assert f"AMD ARK {generation}" in said
        assert "not bound to anything" in said
        assert "not proved  what runs there" in said
        assert f"{generation} is accepted because the policy names it" in done.stderr.decode()
    words = accepting(user, generation)
    facts = json.loads(user.run("evidence", "verify", "--json", folder, *words).stdout)
    assert (facts["certificates"], facts["bound"]) == ("sev", False)


@needs_vectors
def test_a_policy_decides_over_platforms(user: User) -> None:
    """Not named, a denied generation, and another owner: each its own refusal."""
    cases = {
        "platform.denied": [],
        "sev.generation": ["--policy", policy(user, 'platforms = ["sev"]')],
    }
    for check, words in cases.items():
        done = user.run("evidence", "verify", MILAN, *words)
        assert done.returncode == 77
        assert check in done.stderr.decode()
        assert not done.stdout
    owner = accepting(user, "Milan", f'owners = ["{"ab" * 32}"]')
    assert "sev.owner" in user.run("evidence", "verify", MILAN, *owner).stderr.decode()
    ours = json.loads(user.run("evidence", "verify", "--json", MILAN, *accepting(user, "Milan")).stdout)[
        "owner"
    ]
    digest = ours.split()[1]
    done = user.run("evidence", "verify", MILAN, *accepting(user, "Milan", f'owners = ["{digest}"]'))
    assert done.returncode == 0
    assert "accepts any owner" not in done.stdout.decode()


@needs_vectors
def test_certificates_missing_altered_and_of_two_platforms(user: User) -> None:
    words = accepting(user, "Milan")
    for part in ("pdh", "ark"):
        some = [path for path in sorted(MILAN.iterdir()) if path.stem != part]
        done = user.run("evidence", "verify", *some, *words)
        assert done.returncode == 77
        assert "sev.chain.missing" in done.stderr.decode()
        assert part.upper() in done.stderr.decode()
    assert "sev.chain.missing" in user.run("evidence", "verify", MILAN, NAPLES, *words).stderr.decode()
    pdh = bytearray((MILAN / "pdh.cert").read_bytes())
    pdh[4] ^= 1
    (user.home / "pdh.cert").write_bytes(pdh)
    others = [path for path in sorted(MILAN.iterdir()) if path.stem != "pdh"]
    done = user.run("evidence", "verify", "pdh.cert", *others, *words)
    assert done.returncode == 77
    assert "sev.chain.pdh" in done.stderr.decode()


@needs_vectors
def test_a_platforms_export_with_amds_files(user: User) -> None:
    """PDH_CERT_EXPORT gives PEK ‖ OCA ‖ CEK, the CEK unsigned; AMD gives the signed CEK, and ASK ‖ ARK."""
    part = {path.stem: path.read_bytes() for path in MILAN.iterdir()}
    unsigned = part["cek"][:0x414] + (b"\0\x10\0\0" + bytes(516)) * 2
    (user.home / "chain").write_bytes(part["pek"] + part["oca"] + unsigned)
    (user.home / "ask_ark").write_bytes(part["ask"] + part["ark"])
    (user.home / "pdh").write_bytes(part["pdh"])
    words = accepting(user, "Milan")
    done = user.run("evidence", "verify", "chain", "pdh", "ask_ark", *words)
    assert done.returncode == 77
    assert "kdsintf.amd.com/cek/id" in done.stderr.decode()
    done = user.run("evidence", "verify", "chain", "pdh", "ask_ark", MILAN / "cek.cert", *words)
    assert done.returncode == 0, done.stderr.decode()


@needs_vectors
def test_each_certificate_is_explained(user: User) -> None:
    said = user.run("evidence", "show", MILAN).stdout.decode()
    for line in (
        "ARK: AMD root key: signs itself and the ASK · nothing here was verified",
        "PEK: platform endorsement key: signed by owner and chip",
        "by the OCA, ECDSA with SHA-256",
        "by the CEK, ECDSA with SHA-256",
        "by the ASK, RSA with SHA-384",
        "the id of Milan's",
        "policies name an owner by it",
        "API version           1.28",
    ):
        assert line in said
    fields = [json.loads(line) for line in user.run("evidence", "show", "--json", MILAN).stdout.splitlines()]
    assert {entry["certificate"] for entry in fields} == {"ARK", "ASK", "CEK", "OCA", "PEK", "PDH"}
    assert not any(entry["verified"] for entry in fields)
    legacy = VECTORS / "naples-ark-legacy" / "ark-without-signature.cert"
    assert "none: the legacy Naples ARK" in user.run("evidence", "show", legacy).stdout.decode()


def test_a_launch_cannot_be_shown_to_others(user: User, sev_forge: SevForge) -> None:
    """A collection of SEV's explains itself, and verifies for nobody who lacks the tenant's keys."""
    data = cmw.encode(cmw.EvidenceCollection(sev_forge.evidence("sev-es"), b"binding"))
    (user.home / "evidence.json").write_bytes(data)
    said = user.run("evidence", "show", "evidence.json").stdout.decode()
    assert said.startswith("SEV-ES launch, which only its tenant can verify · nothing here was verified")
    assert "debug NOT allowed · key sharing NOT allowed · SEV-ES required · sending NOT allowed" in said
    assert "PDH: platform Diffie-Hellman key" in said
    text = f'platforms = ["sev-es"]\nsimulated = "{sev_forge.pin}"\n'
    done = user.run("evidence", "verify", "evidence.json", "--policy", policy(user, text))
    assert done.returncode == 77
    assert "sev.tenant-only" in done.stderr.decode()
    assert "cannot be shown to others" in done.stderr.decode()
    assert SEV_KEYS.tik.hex() not in said
    done = user.run("evidence", "verify", "evidence.json")
    assert "platform.denied" in done.stderr.decode()


def test_policy_check_says_what_sev_gives_up(user: User) -> None:
    text = 'platforms = ["snp", "sev"]\n[sev]\nminimum_build = { Genoa = 40 }\n'
    done = user.run("policy", "check", policy(user, text))
    assert done.returncode == 0
    assert "build must be at least 40 for Genoa" in done.stdout.decode()
    assert "any owner of the platform" in done.stdout.decode()
    warned = done.stderr.decode()
    assert "names SEV: the hypervisor sees the keep's registers at every exit" in warned
    assert "no memory integrity" in warned
    facts = json.loads(user.run("policy", "check", "--json", "policy.toml").stdout)
    assert facts["sev_api"] == "at least 0.24"
    plain = json.loads(user.run("policy", "check", "--json", policy(user, "")).stdout)
    assert "sev_api" not in plain
