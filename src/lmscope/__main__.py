"""`python -m lmscope` is `lmscope`."""

import sys

from lmscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
