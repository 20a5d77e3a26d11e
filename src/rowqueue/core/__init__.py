"""The pure core: states, policies and values. Standard library only; no clock, no I/O, no SQL."""
