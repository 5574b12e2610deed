"""The SEV firmware of the machine's secure processor: SEV API 0.24 (AMD 55766).

`processor` takes command buffers and dispatches; `states` says which command is legal when; `platform`,
`launch`, `activation`, `migration` and `debug` are the commands; `identity` holds OCA, PEK and PDH, `guests`
what is known of each guest, `receiver` judges whom a guest may be sent to. Formats are
`wasmkeep.evidence.sev`'s.
"""
