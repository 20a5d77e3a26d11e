"""The statements as text and as plans."""
