"""AMD SEV and SEV-ES: a platform's certificates, the launch that its owner prepared, what was measured.

Formats: ``certificate`` (SEV certificate) · ``ca_certificate`` (ARK, ASK) · ``session`` (wrapped launch
keys) · ``bits`` (guest policy) · ``measurement`` · ``packet`` (secrets and transport) · ``report``
(ATTESTATION) · ``kdf`` · ``rsa_keys`` · ``products``. Judging: ``chain`` · ``checks`` (the verdict) ·
``explain``.

Sections "S-…" are those of AMD publication 55766, the SEV API, version 0.24; integers are little-endian.
"""
