//! Every reason for which a keep refuses to go on, by number. The numbers are part of the host interface
//! (docs/host-interface.md has the same table; a test compares them): before there is a channel the code is
//! public, afterwards it is sealed to the tenant.

pub const Code = enum(u32) {
    // The machine: before the offer, public.
    configuration_page = 1,
    secrets_page = 2,
    clock_frequency = 3,
    entropy = 4,
    key_generation = 5,
    guest_request_failed = 6,
    guest_response_invalid = 7,
    report_unusable = 8,
    host_data_mismatch = 9,
    trap_outside_program = 10,
    launch_slot = 11,

    // The wire. Public before the channel exists.
    message_length = 16,
    first_message_length = 17,
    first_message_authentication = 18,
    record_length = 19,
    record_authentication = 20,
    record_padding = 21,
    record_type = 22,
    record_payload = 23,
    tenant_key_mismatch = 24,
    tenant_signature = 25,

    // The program part of the package.
    program_magic = 32,
    program_reserved = 33,
    segment_count = 34,
    relocation_count = 35,
    data_run_count = 36,
    memory_minimum = 37,
    memory_maximum = 38,
    target_name = 39,
    segment_protection = 40,
    segment_address = 41,
    segment_size = 42,
    executable_segments = 43,
    vmctx_address = 44,
    start_address = 45,
    entry_address = 46,
    memory_definition_address = 47,
    relocation_address = 48,
    relocation_builtin = 49,
    data_run_bounds = 50,
    memory_exhausted = 51,

    // The invocation part of the package.
    invocation_magic = 64,
    invocation_reserved = 65,
    memory_limit = 66,
    argument_count = 67,
    argument_bytes = 68,
    variable_count = 69,
    variable_bytes = 70,
    configuration_bytes = 71,
    file_count = 72,
    file_bytes = 73,
    file_flags = 74,
    file_path = 75,
    file_duplicate = 76,
    file_parent = 77,
    file_memory = 78,
    package_excess = 79,
};

pub const Refusal = struct {
    code: Code,
    /// What was found, or where: a count, an address, an index. Before there is a channel only an address of the
    /// public image, or 0.
    detail: u64 = 0,
};
