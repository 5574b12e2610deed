"""The session between a tenant and a keep, as the tenant speaks it: sans-IO (docs/protocol.md).

binding     what the evidence is bound to: report data, session identifier, salted digests
offer       the keep's first message
records     sealed records, both directions
session     the state machine, its rules in one docstring
statements  launch statement and receipt: parse and verify
"""
