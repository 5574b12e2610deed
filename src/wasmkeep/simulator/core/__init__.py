"""A core of the simulated processor: executes x86-64 on memory behind the memory controller.

`engine` is the instruction set (unicorn), `state` its registers, `lines` what it holds decrypted while a
guest runs, `page_walk` and `address_space` how an address becomes memory, `events` how an exception reaches
the guest's handler, `exits` what concerns the hypervisor, `vcpu` VMRUN.
"""
