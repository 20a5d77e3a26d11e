"""Every statement, one file for each part of a job's life; ``catalog`` compiles them by name."""
