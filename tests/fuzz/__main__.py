"""The fuzzing session: `python -m tests.fuzz --minutes 10`."""

from __future__ import annotations

import sys

from tests.fuzz.session import main

if __name__ == "__main__":
    sys.exit(main())
