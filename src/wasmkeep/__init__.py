"""wasmkeep: run a WebAssembly program in a trusted execution environment, and prove what ran."""

__version__ = "0.1.0"
