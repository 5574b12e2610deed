"""What is printed, to whom, and what never reaches a terminal unescaped."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from wasmkeep.cli.console import Block, Console
from wasmkeep.cli.screens import simulated_banner, warning
from wasmkeep.errors import PlatformUnavailable, SessionError, UsageError
from wasmkeep.evidence.errors import Finding, Kind, Rejected


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(block: Block, *, stream: io.StringIO | None = None, json: bool = False, quiet: bool = False) -> str:
    stream = stream or io.StringIO()
    Console(stream, json=json, quiet=quiet).show(block)
    return stream.getvalue()


BLOCK = Block("step", "evidence", ("first", "second"), {"a": 1, "b": b"\x01\x02"}, elapsed_ns=2_100_000)


def test_a_block_is_labelled_once_and_timed_on_its_last_line() -> None:
    assert shown(BLOCK) == f"  {'evidence':<12}first\n  {'':<12}second{'':<60}2.1 ms\n"


def test_a_pipe_gets_no_colour_and_no_moving_line() -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.status("working")
    console.show(BLOCK)
    console.error(UsageError("usage", "no"))
    assert "\x1b" not in stream.getvalue()
    assert "working" not in stream.getvalue()


def test_a_terminal_gets_colour_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1m" in shown(BLOCK, stream=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(BLOCK, stream=Terminal())


def test_a_moving_line_is_taken_away_before_anything_else_is_written() -> None:
    stream = Terminal()
    console = Console(stream)
    console.status("compiling")
    console.error(SessionError("session.closed", "cut"))
    console.status("")
    before, after = stream.getvalue().split("compiling", 1)
    assert "\n" not in before
    assert after.index("\r\x1b[K") < after.index("cut")


def test_json_is_one_object_a_line_with_the_same_facts() -> None:
    assert json.loads(shown(BLOCK, json=True)) == {
        "event": "step",
        "a": 1,
        "b": "0102",
        "elapsed_ns": 2_100_000,
    }


@pytest.mark.parametrize("block", [simulated_banner(), warning("revocation", "no list is asked for")])
def test_quiet_silences_all_but_lost_protection(block: Block) -> None:
    assert shown(BLOCK, quiet=True) == ""
    assert shown(BLOCK, quiet=True, json=True) == ""
    assert block.lines[0] in shown(block, quiet=True)
    assert json.loads(shown(block, quiet=True, json=True))["event"] == block.event


def test_whatever_a_host_wrote_is_escaped_everywhere() -> None:
    hostile = "\x1b[2Jok\r\nrefused: nothing\u202e"
    error = SessionError("host.x", hostile, found=hostile, required=hostile, meaning=hostile, remedy=hostile)
    block = Block(hostile, hostile, (hostile,), {"said": hostile}, elapsed_ns=1, loud=True)
    for as_json in (False, True):
        stream = io.StringIO()
        console = Console(stream, json=as_json)
        console.show(block)
        console.error(error)
        console.note(hostile)
        text = stream.getvalue()
        assert all(line.isprintable() for line in text.split("\n"))
        assert "\x1b" not in text


def test_an_error_says_found_required_meaning_and_next() -> None:
    stream = io.StringIO()
    code = Console(stream).error(
        SessionError("c", "it broke", found="one\ntwo", required="three", meaning="four", remedy="five")
    )
    assert code == 72
    assert stream.getvalue() == (
        "error: it broke\n"
        "  found       one\n"
        "              two\n"
        "  required    three\n"
        "  meaning     four\n"
        "  next        five\n"
    )


def finding(check: str) -> Finding:
    return Finding(
        check, Kind.REFUSED, f"{check} failed", found="7", required="9", meaning="m", advice="update"
    )


def test_one_refused_check_is_a_refusal_with_its_name() -> None:
    stream = io.StringIO()
    assert Console(stream).error(Rejected(finding("snp.measurement"))) == 77
    first = stream.getvalue().splitlines()[0]
    assert first.startswith("refused: snp.measurement failed")
    assert first.endswith("check: snp.measurement")
    assert "  next        update\n" in stream.getvalue()
    stream = io.StringIO()
    Console(stream).error(Rejected(replace(finding("snp.vmpl"), section="AMD 56860, 7.3")))
    assert stream.getvalue().endswith("  see         AMD 56860, 7.3\n")


def test_several_refused_checks_are_listed() -> None:
    error = Rejected(replace(finding("snp.tcb.minimum"), section="S"), finding("snp.crl.missing"))
    stream = io.StringIO()
    Console(stream).error(error)
    assert stream.getvalue() == (
        "refused: 2 checks failed\n"
        "  snp.tcb.minimum         snp.tcb.minimum failed, found 7, required 9; update [S]\n"
        "  snp.crl.missing         snp.crl.missing failed, found 7, required 9; update\n"
    )
    stream = io.StringIO()
    Console(stream, json=True).error(error)
    said = json.loads(stream.getvalue())
    assert [row["check"] for row in said["failures"]] == ["snp.tcb.minimum", "snp.crl.missing"]
    assert [row["kind"] for row in said["failures"]] == ["refused", "refused"]
    assert said["failures"][0]["section"] == "S"
    assert said["exit_code"] == 77


def test_no_tee_says_where_it_looked_how_to_try_it_and_how_to_use_it() -> None:
    stream = io.StringIO()
    error = PlatformUnavailable(
        "platform.none", "no TEE", found="/dev/sev (absent)", remedy="add", meaning="see"
    )
    assert Console(stream).error(error) == 69
    assert stream.getvalue() == (
        "error: no TEE\n  looked for  /dev/sev (absent)\n  to try it   add\n  to use it   see\n"
    )


def test_a_line_that_the_program_left_open_is_closed_first() -> None:
    stream = io.StringIO()
    console = Console(stream)
    stream.write("no newline")
    console.program_wrote(ord("e"), seen=True)
    console.show(BLOCK)
    console.show(BLOCK)
    assert stream.getvalue().count("\n\n") == 0
    assert stream.getvalue().startswith("no newline\n  evidence")


def test_a_reader_that_went_away_does_not_stop_the_work() -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    console = Console(Gone())
    console.show(BLOCK)
    console.show(BLOCK)
