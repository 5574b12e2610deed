"""What a machine publishes for SEV, which machine it can be, and what it remembers of an older release."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulator.sev.bench import NOSEND, Bench
from wasmkeep.endorsements import FolderSource
from wasmkeep.endorsements.documents import Cek, SevCa, SevProduct
from wasmkeep.errors import UsageError
from wasmkeep.evidence.roots import simulated_root
from wasmkeep.evidence.sev import ca_certificate, certificate, chain
from wasmkeep.hardware.psp_sev import FirmwareCommand as Command
from wasmkeep.hardware.sev_status import SevStatus
from wasmkeep.simulator import options
from wasmkeep.simulator.products import PRODUCTS, SevVersion
from wasmkeep.simulator.roots import Endorser, Identity, load_or_create
from wasmkeep.simulator.secure_processor import Configuration, SecureProcessor
from wasmkeep.simulator.status import Refused

NAPLES = PRODUCTS["naples"]


def made(state: Path, name: str = "one") -> Identity:
    return load_or_create(state, name, NAPLES, lambda _: None)


def files(identity: Identity) -> list[str]:
    return sorted(str(path.relative_to(identity.kds)) for path in identity.kds.rglob("*") if path.is_file())


def test_a_chip_without_snp_publishes_sevs_documents_only(tmp_path: Path) -> None:
    machine = made(tmp_path)
    Endorser(machine).publish(revoke_ask=False)
    cek = f"cek/id/{machine.chip.chip_id.hex()}"
    assert files(machine) == [cek, "sev/ask_ark_naples.cert"]
    for path in machine.kds.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_what_is_published_vouches_for_the_platform(tmp_path: Path) -> None:
    machine = made(tmp_path)
    Endorser(machine).publish(revoke_ask=False)
    source = FolderSource(machine.kds)
    authorities = source.read(SevCa(SevProduct.NAPLES))
    ask, ark = ca_certificate.parse_pair(authorities)
    bench = Bench()
    bench.chip = bench.context.chip = machine.chip
    bench.ok(Command.PEK_GEN)  # signed by this machine's CEK
    fields = {"pdh_cert_address": bench.memory.room(2084), "pdh_cert_len": 2084}
    fields |= {"cert_chain_address": bench.memory.room(6252), "cert_chain_len": 6252}
    bench.ok(Command.PDH_CERT_EXPORT, **fields)
    exported = bench.memory.read(fields["cert_chain_address"], 6252)
    pin = bytes.fromhex(machine.root_sha256)
    platform = chain.authenticate(
        chain.PlatformCertificates(
            ark=ark.encode(),
            ask=ask.encode(),
            cek=source.read(Cek(machine.chip.chip_id)),
            pek=exported[:2084],
            oca=exported[2084:4168],
            pdh=bench.memory.read(fields["pdh_cert_address"], 2084),
        ),
        {pin: simulated_root(pin)},
    )
    assert (platform.generation, platform.root.pin) == ("Naples", f"sha256:{machine.root_sha256}")


def test_documents_are_made_once_and_again_where_they_are_not_this_machines(tmp_path: Path) -> None:
    machine, other = made(tmp_path), made(tmp_path, "other")
    Endorser(machine).publish_sev()
    Endorser(other).publish_sev()
    before = {name: (machine.kds / name).read_bytes() for name in files(machine)}
    Endorser(machine).publish_sev()
    assert {name: (machine.kds / name).read_bytes() for name in files(machine)} == before
    cek, authorities = (machine.kds / name for name in before)
    foreign_cek = (other.kds / files(other)[0]).read_bytes()
    for path, damage in (
        (cek, foreign_cek),
        (cek, before[files(machine)[0]][:-1]),
        (cek, certificate.parse(foreign_cek, "CEK").body + bytes(1040)),
        (authorities, (other.kds / files(other)[1]).read_bytes()),
        (authorities, b""),
    ):
        path.write_bytes(damage)
        Endorser(machine).publish_sev()
        assert path.read_bytes() != damage
        assert [len((machine.kds / name).read_bytes()) for name in before] == [2084, 1664]


def test_a_folder_of_an_older_release_gets_what_it_lacks(tmp_path: Path) -> None:
    """Then there were a chip secret, two keys and two X.509 certificates, and no document for SEV."""
    genoa = replace(PRODUCTS["genoa"], rsa_bits=2048)
    machine = load_or_create(tmp_path, "old", genoa, lambda _: None)
    endorser = Endorser(machine)
    endorser.publish_chain()
    endorser.publish_crl(revoke_ask=False)
    before = {path: path.read_bytes() for path in machine.folder.rglob("*") if path.is_file()}
    again = load_or_create(tmp_path, "old", genoa, lambda _: None)
    Endorser(again).publish(revoke_ask=False)
    assert {path: path.read_bytes() for path in before} == before
    assert again.root_sha256 == machine.root_sha256
    ask, ark = ca_certificate.parse_pair((machine.kds / "sev" / "ask_ark_genoa.cert").read_bytes())
    assert ark.spki_sha256.hex() == machine.root_sha256
    assert ask.key == machine.ask.public_key()


@pytest.mark.parametrize(
    ("name", "version", "slots", "size"),
    [
        ("naples", (0, 24, 15), 15, 2048),
        ("rome", (0, 24, 20), 509, 4096),
        ("milan", (1, 55, 21), 509, 4096),
        ("genoa", (1, 55, 40), 509, 4096),
        ("turin", (1, 55, 54), 509, 4096),
    ],
)
def test_generations_differ(name: str, version: tuple[int, int, int], slots: int, size: int) -> None:
    product = PRODUCTS[name]
    assert (product.sev, product.slots, product.rsa_bits) == (SevVersion(*version), slots, size)
    assert product.has_snp is (name not in ("naples", "rome"))


def configured(*arguments: str) -> Configuration:
    return options.parse(["--socket", "x", *arguments]).configuration


def test_options_say_how_slots_are_split() -> None:
    assert [configured().slots, configured().min_sev_asid] == [509, 410]
    naples = configured("--product", "naples")
    assert (naples.slots, naples.min_sev_asid) == (15, 8)
    few = configured("--slots", "2")
    assert (few.slots, few.min_sev_asid) == (2, 3)  # all for SNP and SEV-ES
    split = configured("--slots", "5", "--min-sev-asid", "2")
    assert (split.slots, split.min_sev_asid) == (5, 2)


def test_options_say_version_and_roots() -> None:
    root = "sha256:" + "5f" * 32
    given = configured("--sev-firmware", "0.17.3", "--amd-root", root)
    assert (given.sev, given.amd_roots) == (SevVersion(0, 17, 3), frozenset({b"\x5f" * 32}))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--product", "naples", "--slots", "16"],
        ["--product", "naples", "--report-version", "2"],
        ["--product", "rome", "--mask-chip-id"],
        ["--product", "rome", "--platform-info", "1"],
        ["--product", "rome", "--revoke-ask"],
        ["--min-sev-asid", "0"],
        ["--slots", "5", "--min-sev-asid", "7"],
        ["--sev-firmware", "1.55"],
        ["--sev-firmware", "1.55.256"],
        ["--sev-firmware", "1.55.x"],
        ["--amd-root", "5f" * 32],
    ],
    ids=" ".join,
)
def test_options_that_fit_no_machine_are_errors(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        configured(*arguments)


def test_a_chip_without_snp_knows_none_of_its_commands() -> None:
    bench = Bench()
    endorsed: list[int] = []
    processor = SecureProcessor(bench.chip, configured("--product", "naples"), endorsed.append)
    assert endorsed == []
    for ask in (processor.snp_platform_status, processor.snp_commit):
        with pytest.raises(Refused) as refused:
            ask()
        assert refused.value.status is SevStatus.INVALID_COMMAND
    assert processor.get_id() == bench.chip.chip_id
    status, _ = processor.sev.command(Command.INIT, bytes(0x14), bench.memory)
    assert status is SevStatus.SUCCESS
    buffer = bytes(4) + NOSEND.to_bytes(4, "little") + bytes(0x1C)
    assert processor.sev.command(Command.LAUNCH_START, buffer, bench.memory)[0] is SevStatus.SUCCESS
