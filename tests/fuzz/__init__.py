"""Fuzz targets, one for each format that `wasmkeep.evidence` reads: `make fuzz`."""
