"""A machine's identity: made once, kept, private, and whole or not there at all."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from wasmkeep.endorsements import FolderSource
from wasmkeep.endorsements import documents as kds
from wasmkeep.errors import SystemFailure, UsageError
from wasmkeep.simulator import certificates
from wasmkeep.simulator.products import PRODUCTS
from wasmkeep.simulator.roots import Endorser, Identity, load_or_create

# Real machines have RSA-4096, as `test_machine` checks; here only the files matter.
GENOA, TURIN = (replace(PRODUCTS[name], rsa_bits=2048) for name in ("genoa", "turin"))


def made(state: Path, name: str = "one", said: list[str] | None = None) -> Identity:
    return load_or_create(state, name, GENOA, (said if said is not None else []).append)


def test_a_machine_is_made_once_and_kept(tmp_path: Path) -> None:
    said: list[str] = []
    first = made(tmp_path, said=said)
    again = made(tmp_path, said=said)
    assert len(said) == 1
    assert first.root_sha256 == again.root_sha256
    assert first.chip.chip_id == again.chip.chip_id
    assert first.ask_certificate == again.ask_certificate


def test_two_machines_differ_and_so_do_two_generations_of_one(tmp_path: Path) -> None:
    turin = load_or_create(tmp_path, "one", TURIN, lambda _: None)
    machines = [made(tmp_path, "one"), made(tmp_path, "two"), turin]
    assert len({machine.root_sha256 for machine in machines}) == 3
    assert len({machine.chip.chip_id for machine in machines}) == 3


def test_everything_secret_is_private(tmp_path: Path) -> None:
    folder = made(tmp_path).folder
    for path in [folder, folder.parent, folder / "kds"][:2]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in folder.iterdir()} == {
        "chip-secret",
        "ark.key",
        "ask.key",
        "ark.der",
        "ask.der",
    }


@pytest.mark.parametrize("name", ["chip-secret", "ark.key", "ask.key"])
def test_a_key_that_others_could_read_is_not_used(tmp_path: Path, name: str) -> None:
    path = made(tmp_path).folder / name
    path.chmod(0o640)
    with pytest.raises(SystemFailure) as refused:
        made(tmp_path)
    assert refused.value.check == "simulator.state.mode"
    assert str(path) in refused.value.found


@pytest.mark.parametrize("name", ["chip-secret", "ark.key", "ask.key", "ark.der", "ask.der"])
@pytest.mark.parametrize("damage", ["missing", "cut", "another machine's"])
def test_a_damaged_machine_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    path = made(tmp_path).folder / name
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif name == "chip-secret":
        pytest.skip("any 32 bytes are a chip")
    else:
        path.write_bytes((made(tmp_path, "other").folder / name).read_bytes())
    with pytest.raises(SystemFailure) as refused:
        made(tmp_path)
    assert refused.value.check == "simulator.state.damaged"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", ".x", "A", "x" * 65, "a\n", "ä"])
def test_a_name_that_is_no_plain_path_component_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        made(tmp_path, name)
    assert not (tmp_path / "machines").exists()


def test_creators_at_the_same_time_make_one_machine(tmp_path: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(lambda _: made(tmp_path, said=said), range(4)))
    assert len({machine.root_sha256 for machine in machines}) == 1
    assert len(said) == 1


def test_a_creation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(certificates, "issue_ark", fail)
    with pytest.raises(OSError, match="No space"):
        made(tmp_path)
    assert [path.name for path in (tmp_path / "machines" / "one").iterdir()] == ["lock"]


def test_a_state_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "machines").write_text("a file")
    with pytest.raises(SystemFailure) as refused:
        made(tmp_path)
    assert refused.value.check == "simulator.state"


def test_no_key_shows_in_a_representation(tmp_path: Path) -> None:
    machine = made(tmp_path)
    assert repr(machine) == f"Identity({machine.folder}, root {machine.root_sha256[:16]})"


def published(tmp_path: Path) -> tuple[Identity, Endorser, FolderSource]:
    machine = made(tmp_path)
    return machine, Endorser(machine), FolderSource(machine.kds)


def test_endorsements_are_where_a_key_distribution_service_has_them(tmp_path: Path) -> None:
    machine, endorser, source = published(tmp_path)
    endorser.publish_chain()
    endorser.publish_crl(revoke_ask=False)
    issued = endorser.publish_vcek(GENOA.tcb)
    product = kds.Product.GENOA
    asked = kds.Vcek.of_report(product, machine.chip.chip_id, GENOA.tcb.to_bytes(8, "little"))
    assert source.read(asked) == issued
    chain = x509.load_pem_x509_certificates(source.read(kds.CertChain(product)))
    der = [machine.ask_certificate, machine.ark_certificate]
    assert chain == [x509.load_der_x509_certificate(each) for each in der]
    crl = x509.load_der_x509_crl(source.read(kds.Crl(product)))
    assert [entry.serial_number for entry in crl] == [0x20001]
    for path in machine.kds.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_vcek_is_issued_once(tmp_path: Path) -> None:
    _, endorser, _ = published(tmp_path)
    assert endorser.publish_vcek(GENOA.tcb) == endorser.publish_vcek(GENOA.tcb)
    assert endorser.publish_vcek(GENOA.tcb - 1) != endorser.publish_vcek(GENOA.tcb)


def crl_of(machine: Identity) -> tuple[int, set[int], datetime]:
    crl = x509.load_der_x509_crl((machine.kds / "vcek" / "v1" / "Genoa" / "crl").read_bytes())
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    return number, {entry.serial_number for entry in crl}, crl.last_update_utc


def test_the_list_is_kept_while_it_is_fresh_and_its_number_only_grows(tmp_path: Path) -> None:
    machine, endorser, _ = published(tmp_path)
    now = datetime.now(UTC)
    seen = []
    for revoke, days in ((False, 0), (False, 5), (True, 6), (True, 7), (False, 8), (False, 60)):
        endorser.publish_crl(revoke_ask=revoke, now=now + timedelta(days=days))
        number, revoked, _ = crl_of(machine)
        seen.append((number, GENOA.ask_serial in revoked))
    assert seen == [(1, False), (1, False), (2, True), (2, True), (3, False), (4, False)]


def test_a_list_from_the_future_is_replaced(tmp_path: Path) -> None:
    machine, endorser, _ = published(tmp_path)
    now = datetime.now(UTC)
    endorser.publish_crl(revoke_ask=False, now=now + timedelta(days=10))
    endorser.publish_crl(revoke_ask=False, now=now)
    assert crl_of(machine)[0] == 2
    assert crl_of(machine)[2] <= now
