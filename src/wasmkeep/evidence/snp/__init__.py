"""AMD SEV-SNP: what the bytes say, who signed them, what was launched, and whether a policy accepts it.

``report`` (attestation report) · ``tcb`` · ``bits`` (guest policy, platform info) · ``products`` ·
``certificates`` and ``table`` (VCEK, VLEK, ASK, ARK, CRL) · ``chain`` · ``measurement`` (launch digest) ·
``id_block`` · ``checks`` (the verdict) · ``defaults`` (dated) · ``explain``.

Sections "N-…" are those of AMD publication 56860, the SEV-SNP firmware ABI; integers are little-endian.
"""
