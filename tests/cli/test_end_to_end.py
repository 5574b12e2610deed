"""The real thing: commands as a newcomer types them, on a simulated machine, with nothing replaced."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import EXAMPLES, MACHINE, User

ADD = EXAMPLES / "add.wat"


def run_flags(cpu: str) -> list[str]:
    return ["--simulated", "--machine", MACHINE, "--cpu", cpu]


def test_three_and_four_is_seven(user: User, cpu: str) -> None:
    done = user.run("run", *run_flags(cpu), ADD, "--", "3", "4")
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (0, b"7\n"), said
    lines = said.splitlines()
    for label in ("SIMULATED", "platform", "evidence", "delivered", "launched", "exit 0"):
        assert any(line.startswith(f"  {label}") for line in lines), label
    for fact in (
        "AMD SEV-SNP · Genoa · simulated",
        "VCEK → ASK → ARK, root ",
        "CRL fresh",
        "= the keep image you have (wasmkeep 0.1.0",
        "policy default: no debug",
        "bound to your key and to a nonce of 32 bytes",
        "program ",
        "receipt add.receipt, verified",
    ):
        assert fact in said
    assert said.index("SIMULATED") < said.index("platform ")
    kind = "a real virtual machine (/dev/kvm)" if cpu == "kvm" else "a sandboxed process"
    assert kind in said
    assert (user.home / "add.receipt").stat().st_mode & 0o777 == 0o600


def test_a_program_may_fail_in_its_own_way(user: User, cpu: str) -> None:
    done = user.run("run", *run_flags(cpu), "--json", ADD, "--", "x")
    assert (done.returncode, done.stdout) == (2, b"")
    said = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert said[-1]["event"] == "finished"
    assert (said[-1]["exit_code"], said[-1]["whose"]) == (2, "program")
    assert [event["event"] for event in said if event["event"] == "simulated"] == ["simulated"]


def test_a_trap_has_a_name_a_backtrace_and_its_own_exit_code(user: User, cpu: str) -> None:
    done = user.run("run", *run_flags(cpu), EXAMPLES / "trap.wat")
    assert done.returncode == 134, done.stderr.decode()
    said = done.stderr.decode()
    assert re.search(r"^  trap +\S", said, re.MULTILINE)
    assert re.search(r"^  trapped +receipt trap.receipt, verified", said, re.MULTILINE)


def test_input_flows_through_to_output_byte_for_byte(user: User, cpu: str) -> None:
    data = bytes(range(256)) * 1000
    done = user.run("run", *run_flags(cpu), "--quiet", EXAMPLES / "cat.wat", stdin=data)
    assert (done.returncode, done.stdout) == (0, data), done.stderr.decode()
    assert [line.split()[0] for line in done.stderr.decode().splitlines() if line[2:3] != " "] == [
        "SIMULATED"
    ]


def test_a_receipt_is_verified_by_whoever_has_the_program(user: User, cpu: str) -> None:
    done = user.run("run", *run_flags(cpu), "--json", "--receipt", "r", ADD, "--", "3", "4")
    last = json.loads(done.stderr.decode().splitlines()[-1])
    words = last["verify"].split()
    assert words[:3] == ["wasmkeep", "receipt", "verify"]
    verified = user.run(*words[1:], "--program", ADD)
    assert verified.returncode == 0, verified.stderr.decode()
    assert b"compiled again" in verified.stdout
    assert b"SIMULATED" in verified.stderr

    (user.home / "out").write_bytes(done.stdout)
    disclosed = ["--salts", "r.salts", "--field", "stdout=out"]
    assert user.run(*words[1:], *disclosed).returncode == 0
    (user.home / "out").write_bytes(b"8\n")
    assert user.run(*words[1:], *disclosed).returncode == 76
    assert user.run(*words[1:], "--program", EXAMPLES / "cat.wat").returncode == 76
    assert user.run("receipt", "verify", "r").returncode == 77  # nobody pinned that machine

    shown = user.run("receipt", "show", "r", "--json")
    assert json.loads(shown.stdout)["stdout_size"] == 2
    altered = bytearray((user.home / "r").read_bytes())
    altered[-40] ^= 1
    (user.home / "r").write_bytes(altered)
    assert user.run(*words[1:]).returncode == 76


class Host:
    """A host in its own terminal."""

    def __init__(self, said: list[dict[str, str]]) -> None:
        self.said = {name: value for line in said for name, value in line.items()}

    @property
    def url(self) -> str:
        return self.said["url"]

    @property
    def root(self) -> str:
        return self.said["root"]


@pytest.fixture
def host(user: User, cpu: str) -> Iterator[Host]:
    serving = user.popen(
        "host",
        "serve",
        "--simulated",
        "snp",
        "--machine",
        MACHINE,
        "--cpu",
        cpu,
        "--listen",
        "127.0.0.1:0",
        "--json",
    )
    assert serving.stderr is not None
    said: list[dict[str, str]] = []
    try:
        while not said or said[-1]["event"] != "listening":
            line = serving.stderr.readline()
            assert line, said
            said.append(json.loads(line))
        yield Host(said)
    finally:
        serving.terminate()
        _, rest = serving.communicate(timeout=60)
    assert serving.returncode == 0, rest


def policy(user: User, text: str) -> Path:
    path = user.home / "policy.toml"
    path.write_text(text)
    return path


def test_two_terminals_and_a_policy_file(user: User, host: Host) -> None:
    file = policy(user, f'platforms = ["snp"]\nruntime = ["wasmkeep 0.1.0"]\nsimulated = "{host.root}"\n')
    done = user.run("deploy", ADD, "--host", host.url, "--policy", file, "--", "20", "22")
    assert (done.returncode, done.stdout) == (0, b"42\n"), done.stderr.decode()
    assert "SIMULATED" in done.stderr.decode()
    assert f"policy {file}:" in done.stderr.decode()


def test_a_host_that_nobody_pinned_gets_nothing(user: User, host: Host) -> None:
    done = user.run("deploy", ADD, "--host", host.url, "--", "3", "4")
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (77, b"")
    assert said.startswith("refused: the certificate chain ends at a root that you do not accept")
    assert "delivered" not in said


def test_another_image_than_the_policys_is_refused(user: User, host: Host) -> None:
    file = policy(user, f'runtime = ["{"ab" * 48}"]\nsimulated = "{host.root}"\n')
    done = user.run("deploy", ADD, "--host", host.url, "--policy", file, "--", "3", "4")
    assert (done.returncode, done.stdout) == (77, b"")
    assert "check: snp.measurement" in done.stderr.decode()


def test_tokens_decide_who_may_use_the_host(user: User, host: Host) -> None:
    pin = ["--simulated", host.root, "--quiet"]
    words = ["deploy", str(ADD), "--host", host.url, *pin]
    assert user.run(*words, "--", "1", environment={"WASMKEEP_TOKEN": host.said["token"]}).returncode == 0
    assert user.run(*words, "--", "1", environment={"WASMKEEP_TOKEN": "wk_" + "A" * 43}).returncode == 71
    assert user.run(*words, "--", "1", environment={"WASMKEEP_TOKEN": "secret"}).returncode == 66
    user.run("host", "token", "revoke", "guest")  # of a test that was cut short
    made = user.run("host", "token", "create", "guest")
    (user.home / "token").write_bytes(made.stdout)
    assert user.run(*words, "--token-file", "token", "--", "1").returncode == 0
    assert user.run("host", "token", "revoke", "guest").returncode == 0
    assert user.run(*words, "--token-file", "token", "--", "1").returncode == 71


def test_no_runtime_folder_is_no_reason_for_noise(user: User, cpu: str) -> None:
    environment = {name: value for name, value in user.environment.items() if name != "XDG_RUNTIME_DIR"}
    done = User(user.home, environment).run("run", *run_flags(cpu), "--json", ADD, "--", "1")
    assert done.returncode == 0
    for line in done.stderr.decode().splitlines():
        json.loads(line)
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        there = f"http://127.0.0.1:{somebody.getsockname()[1]}"
        missing = User(user.home, environment).run("deploy", ADD, "--host", there, "--json")
    assert [json.loads(line)["check"] for line in missing.stderr.splitlines()] == ["token.missing"]


def test_closed_standard_streams(user: User, cpu: str) -> None:
    command = shlex.join(user.command("run", *run_flags(cpu), "--quiet"))

    def run(program: str, redirection: str) -> int:
        line = f"{command} {EXAMPLES / program} -- 1 {redirection}"
        return subprocess.run(
            ["/bin/bash", "-c", line],
            env=dict(user.environment),
            cwd=user.home,
            capture_output=True,
            check=False,
        ).returncode

    assert run("cat.wat", "<&-") == 0
    assert run("add.wat", "2>&-") == 0
    assert run("add.wat", ">&-") == 73


def test_platform_asks_the_host(user: User, host: Host) -> None:
    done = user.run("platform", "--host", host.url)
    assert done.returncode == 0
    assert "SIMULATED" in done.stdout.decode()
    said = json.loads(user.run("platform", "--host", host.url, "--json").stdout)
    assert said["tees"][0]["kind"] == "snp"


def test_files_environment_and_configuration_reach_the_program(user: User, cpu: str, tmp_path: Path) -> None:
    """What the flags deliver is on the screen; what programs see of it is tested with real programs."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "orders.csv").write_text("1,2\n")
    flags = ["--dir", f"{tree}:data", "--env", "A=b", "--env", "SECRET"]
    done = user.run(
        "run", *run_flags(cpu), *flags, ADD, "--", "3", "4", environment={"SECRET": "not on screen"}
    )
    assert (done.returncode, done.stdout) == (0, b"7\n"), done.stderr.decode()
    assert "1 file (4 B), 2 environment variables" in " ".join(done.stderr.decode().split())
    assert "not on screen" not in done.stderr.decode()
