"""The session between a tenant and a keep, as the tenant speaks it: sans-IO (docs/protocol.md).

binding     what the evidence is bound to: report data, session identifier, salted digests
offer       the keep's first message
pre_attested  the tenant's half of a launch on SEV and SEV-ES: three messages, and what they lead to
records     sealed records, both directions
session     the state machine, its rules in one docstring
slot        what the tenant's packet of such a launch says, and what follows from it
statements  launch statement and receipt: parse and verify
"""
