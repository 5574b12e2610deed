"""What the host's kernel does for a guest of the emulated CPU, as KVM does for those of a real one: it
answers the exits it can answer itself and passes the others on. Nobody has to trust it.
"""
