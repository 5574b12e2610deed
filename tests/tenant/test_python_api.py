"""The Python API is what its page says: the names, and the examples, run against a real host."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.hostile.lying_host import lying_host
from tests.machines import machine
from wasmkeep import tenant
from wasmkeep.errors import WasmkeepError

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python-api.md").read_text()
DEPLOYING = PAGE.split("\n## Verify evidence\n")[0]


def test_every_name_is_there_and_has_a_docstring() -> None:
    for name in tenant.__all__:
        assert inspect.getdoc(getattr(tenant, name)), name
    with pytest.raises(AttributeError):
        _ = tenant.nothing_of_this_name


def test_the_page_uses_only_names_that_exist() -> None:
    named = set(re.findall(r"from wasmkeep\.tenant import ([^\n]+)", PAGE))
    assert named
    for line in named:
        assert set(line.split(", ")) <= set(tenant.__all__)


def test_importing_it_loads_no_compiler() -> None:
    code = "import sys, wasmkeep.tenant; print('wasmtime' in sys.modules or 'cryptography' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code]) == b"False\n"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is blocking, so it runs in a thread; the others go on in a coroutine."""
    blocking, streaming, many = re.findall(r"```python\n(.*?)```", DEPLOYING, re.DOTALL)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "add.wat").write_bytes((ROOT / "examples" / "add.wat").read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(f'platforms = ["snp"]\nsimulated = "{machine().root}"\n')

    async def whole() -> dict[str, object]:
        async with lying_host() as running:
            names: dict[str, object] = {"token": running.token}
            first = blocking.replace("http://127.0.0.1:7433", running.url)
            await asyncio.to_thread(exec, first, names)
            assert getattr(names["outcome"], "stdout", b"") == b"7\n"
            rest = "stdout, stderr = BytesOutput(), BytesOutput()\n" + many.replace("range(100)", "range(3)")
            body = (
                "from wasmkeep.tenant import BytesOutput\n" + streaming + rest + "results.append(outcome)\n"
            )
            source = "async def main():\n" + textwrap.indent(body, "    ")
            names["results"] = []
            exec(source, names)  # noqa: S102
            await names["main"]()  # type: ignore[operator]
        return names

    names = asyncio.run(whole())
    assert len(names["results"]) == 1  # type: ignore[arg-type]
    assert (tmp_path / "add.receipt").stat().st_size > 1000


def test_a_blocking_deployment_raises_what_went_wrong(tmp_path: Path) -> None:
    request = tenant.DeploymentRequest(
        program=tmp_path / "missing.wasm", host="http://127.0.0.1:1", policy=tenant.Policy.default()
    )
    with pytest.raises(WasmkeepError) as refused:
        tenant.deploy(request)
    assert refused.value.exit_code == 66
