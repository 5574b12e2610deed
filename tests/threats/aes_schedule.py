"""AES-256's key expansion (FIPS 197, 5.2): what a cipher holds of its key while it works."""

from __future__ import annotations

from functools import cache

_WORDS, _ROUND_KEYS = 8, 15  # of the key, of the schedule


@cache
def _substitution() -> bytes:
    """The S-box: inverse in GF(2^8), then the affine map. p runs through all powers of 3, q through p's
    inverses.
    """
    box, p, q = bytearray(256), 1, 1
    box[0] = 0x63
    while True:
        p ^= p << 1 & 0xFF ^ (0x1B if p & 0x80 else 0)
        for shift in (1, 2, 4):
            q ^= q << shift & 0xFF
        q ^= 0x09 if q & 0x80 else 0
        turned = [(q << by | q >> 8 - by) & 0xFF for by in (1, 2, 3, 4)]
        box[p] = q ^ turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ 0x63
        if p == 1:
            return bytes(box)


def _mixed(word: bytes, index: int) -> bytes:
    """What word number `index` has of the one before it."""
    if index % _WORDS == 0:
        turned = (word[1:] + word[:1]).translate(_substitution())
        return bytes((turned[0] ^ 1 << index // _WORDS - 1,)) + turned[1:]
    return word.translate(_substitution()) if index % _WORDS == 4 else word


def _added(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def round_keys(key: bytes) -> list[bytes]:
    """All 15, of 16 bytes each, from the key's 32."""
    words = [key[at : at + 4] for at in range(0, 32, 4)]
    for index in range(_WORDS, 4 * _ROUND_KEYS):
        words.append(_added(words[index - _WORDS], _mixed(words[-1], index)))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]
