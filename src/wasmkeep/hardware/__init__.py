"""The kernel's own interfaces, struct for struct, and the simulated machine's socket, which speaks the same.

``kvm``, ``psp_sev``, ``kvm_sev``, ``kvm_snp``, ``sev_guest`` hold numbers and structures of the kernel's
headers, ``psp_sev_calls`` and ``kvm_sev_calls`` SEV's calls as values; ``sev_commands``, ``snp_messages`` and
``sev_status`` the firmware's own formats. ``simulated`` drives the simulated machine, with ``sev_guest_vm``
for its SEV guests; ``bare_vm`` drives this computer's ``/dev/kvm`` and ``/dev/sev`` by the same names
(``sev_platform``, ``sev_guest_commands``); ``devices`` says what it has, ``surroundings`` and
``diagnosis`` what is missing and what helps, ``sev_host`` how its secure processor stands. For programs
inside a confidential guest, ``snp_guest_device`` (``/dev/sev-guest``, by ``sev_guest_calls``) and
``tsm_report`` (configfs) ask for its evidence. Nothing here imports another domain of wasmkeep.
"""
