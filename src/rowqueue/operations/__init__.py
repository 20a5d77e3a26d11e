"""Every verb, written once: a generator that yields statements and returns a value."""
