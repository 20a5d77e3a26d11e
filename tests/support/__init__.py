"""What the tests stand on: real databases, and waiting without sleeping."""
