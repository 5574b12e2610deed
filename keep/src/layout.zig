//! Where everything is in a keep's memory. The same virtual addresses hold for every machine kind; in the
//! guest kinds the first 10 MiB are also physical addresses, and `ring0.s` and `link/guest.ld` repeat what they
//! need of this (the linker asserts that they agree).
//!
//!     0000_0000  nothing: null pointers fault
//!     0001_3000  launch page: secrets page (snp) or launch slot (sev, sev-es)
//!     0001_4000  configuration page, 0001_5000 trap page (guests, read-only)
//!     0010_0000  image: boot tables and ring 0 (guests only), text, read-only data, data
//!     0020_0000  window, 1 MiB, the only memory shared with the host
//!     0030_0000  zero-initialised data of the image; then the trap stack between two guard pages
//!     0040_0000  buffers, 2 MiB
//!     0060_0000  guard, 2 MiB
//!     0080_0000  stack of the keep and the program, 2 MiB; guard above
//!     4000_0000  segments of the program, 1 GiB
//!     8000_0000  contents of files, 1 GiB
//!   1_0000_0000  linear memory, 4 GiB; then a guard that any 32-bit index plus 32-bit offset stays inside

pub const page = 4096;
/// Memory is handed out and mapped in blocks of this size.
pub const block = 2 << 20;
pub const wasm_page = 64 << 10;

/// What the launch gave this keep alone: the secrets page (snp), or the slot with the tenant's packet (sev, sev-es).
pub const launch_page = 0x1_3000;
pub const configuration_page = 0x1_4000;
pub const trap_page = 0x1_5000;

pub const image = 0x10_0000;
pub const text = 0x11_0000;
pub const text_end = 0x19_0000;
pub const image_end = 0x1F_0000;

pub const window = 0x20_0000;
pub const window_size = 1 << 20;

pub const zero_data = 0x30_0000;
pub const zero_data_end = 0x3D_F000;
pub const trap_stack = 0x3E_0000;
pub const trap_stack_end = 0x3F_0000;

pub const buffers = 0x40_0000;
pub const buffers_end = 0x60_0000;

pub const stack = 0x80_0000;
pub const stack_end = 0xA0_0000;

/// Physical memory after the image: one block for contents and one for linear memory, mapped from the start; then
/// the pool, to the end of memory.
pub const pool = 0xE0_0000;
pub const minimum_memory = 32 << 20;
/// 1 TiB, far beyond what the ranges above can map; keeps sums of addresses small.
pub const maximum_memory = 1 << 40;

pub const segments = 0x4000_0000;
pub const segments_end = 0x8000_0000;
pub const contents = 0x8000_0000;
pub const contents_end = 0xC000_0000;
pub const linear = 0x1_0000_0000;
pub const linear_end = 0x2_0000_0000;
/// Linear memory may start up to a block above `linear` (see `memory.Linear`), and an access has a width.
pub const linear_guard_end = 0x3_0000_0000 + 2 * block;
