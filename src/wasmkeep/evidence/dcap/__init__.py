"""What Intel's quotes have in common (DCAP): quote format, PCK certificate, collateral, TCB levels."""
