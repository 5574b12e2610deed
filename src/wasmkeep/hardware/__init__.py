"""The kernel's own interfaces, struct for struct, and the simulated machine's socket, which speaks the same.

``kvm``, ``psp_sev``, ``kvm_sev``, ``sev_guest`` hold numbers and structures of the kernel's headers;
``snp_messages`` and ``sev_status`` the firmware's own formats; ``simulated`` drives the simulated machine;
``devices`` says what this computer has. Nothing here imports another domain of wasmkeep.
"""
