"""Processor generations by the key ids that AMD gave their certificate authorities (S-B.1).

Of a vendor's chain nothing is concluded from these: the pinned root says which generation it speaks for. A
simulator's pinned root speaks for none, so there the ASK's key id says it (`chain`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRODUCTS", "Product", "product_of_ask"]


@dataclass(frozen=True, slots=True)
class Product:
    """``ark_key_id`` and ``ask_key_id`` are 16 bytes; ``bits`` the size of both RSA keys."""

    name: str
    bits: int
    ark_key_id: bytes
    ask_key_id: bytes


def _product(name: str, bits: int, ark: str, ask: str) -> Product:
    return Product(name, bits, bytes.fromhex(ark), bytes.fromhex(ask))


PRODUCTS = (
    _product("Naples", 2048, "1bb987c359494606b174945601c9ea5b", "e139970cfc464377ae61b289e2f9e96e"),
    _product("Rome", 4096, "e6002122fb58419399d15fee7b131351", "c6cbcf145b3146f498e40ecb4ad4fded"),
    _product("Milan", 4096, "94c38e4177d0479292a7ae671d083fb6", "73478c05cc174bfeb06e718fa75dc3c8"),
    _product("Genoa", 4096, "9f9d4a8fe761456599f6946c4c010f3a", "acbb4ad21acc436fb3e932f812cd01b0"),
    _product("Turin", 4096, "d05c3a8bde484904b49552422ceb3942", "15051693f7304d65a527b4a7f3f7cb77"),
)


def product_of_ask(key_id: bytes) -> Product | None:
    """The product whose ASK has this key id (16 bytes), or None."""
    return next((product for product in PRODUCTS if product.ask_key_id == key_id), None)
