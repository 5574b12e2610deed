"""The talk's demonstration: an empty machine, measured; then code and data for it, injected, and run.

Two halves that trust each other with nothing. `client` (formats and checks of `wasmkeep.evidence`) is the
owner of code and data; `server` (drivers of `wasmkeep.hardware`) is the host with its secure processor.
`messages` is all that travels between them, `program` what is delivered. `tamper` is a host that cheats, each
time in one named way, `spy` what others than the guest saw of its memory. `wasmkeep.cli` wires them.
"""
