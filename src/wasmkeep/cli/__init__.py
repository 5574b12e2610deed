"""The command line: wires the other domains together and says what they proved.

Nothing here decides about trust. Each command is one module; it is imported when it is named, so that
``wasmkeep --help`` costs little more than starting Python.
"""
