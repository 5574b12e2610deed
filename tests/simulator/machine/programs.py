"""Guests of a few bytes. Each is entered at 0 in real mode, unless it says otherwise; output goes to 3F8h."""

from __future__ import annotations

# mov dx, 3f8h · mov al, 3 · mov bl, 4 · add al, bl · add al, '0' · out dx, al · hlt
PRINT_SEVEN = bytes.fromhex("ba f8 03  b0 03  b3 04  00 d8  04 30  ee  f4")

SECRET = b"the tenant's own secret, 48 bytes of it, no more"
SECRET_AT = 0x2000

# mov si, 2000h · mov dx, 3f8h · mov cx, 48 · again: lodsb · out dx, al · loop again · hlt
PRINT_SECRET = bytes.fromhex("be 00 20  ba f8 03  b9 30 00  ac  ee  e2 fc  f4")

# mov si, 2000h · mov di, 3000h · mov cx, 48 · rep movsb · hlt: a copy of the secret at another address
COPY_SECRET = bytes.fromhex("be 00 20  bf 00 30  b9 30 00  f3 a4  f4")

# jmp $
LOOP = bytes.fromhex("eb fe")

# inc byte [2000h] · mov al, [2000h] · mov dx, 3f8h · out dx, al · jmp 0
COUNT = bytes.fromhex("fe 06 00 20  a0 00 20  ba f8 03  ee  eb f3")

# mov eax, 0 · cpuid · hlt
CPUID_ZERO = bytes.fromhex("66 b8 00 00 00 00  0f a2  f4")
