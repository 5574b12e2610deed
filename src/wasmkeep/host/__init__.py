"""The host: launches keeps and carries what tenants and keeps say to each other. Nobody has to trust it.

``server`` (the daemon) · ``app`` (routes), ``gate`` (who may come in), ``openapi`` (their description) ·
``keeps`` (all of them, limits), ``keep`` (the life of one), ``session`` (its tenant's WebSocket) · ``window``
(the host interface, checked) · ``launch_snp``, ``launch_sev``, ``images``, ``machine``, ``tees`` (what is
launched, where), ``sev_certificates`` · ``tap`` (where bytes that are not the host's pass) · ``tokens``,
``listening``, ``connections``, ``journal`` (the daemon among strangers).
"""
