"""``python -m rowqueue``: the same as the ``rowqueue`` command."""

from __future__ import annotations

import sys

from rowqueue.cli import main

if __name__ == "__main__":
    sys.exit(main())
