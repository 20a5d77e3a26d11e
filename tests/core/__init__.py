"""The pure core, without a database."""
