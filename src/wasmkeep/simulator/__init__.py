"""A machine without the hardware: an AMD secure processor, its memory and its CPU, in a process of its own.

It is reached only through its socket, which carries the kernel's ioctls byte for byte
(`wasmkeep.hardware`). See docs/simulator.md for how to start it, what the frames are, and what it cannot
promise.
"""
