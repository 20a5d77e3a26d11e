"""All parsers under atheris: `python -m tests.faults.fuzz -max_total_time=60 [FOLDER]`; it stops at the first other error."""

import sys

import atheris  # type: ignore[import-not-found,unused-ignore]

with atheris.instrument_imports(include=["rowqueue"]):
    from tests.faults.parsers import run


def one(data: bytes) -> None:
    """One input."""
    run(data.decode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
