"""One module for each command; each has an object ``command``."""
