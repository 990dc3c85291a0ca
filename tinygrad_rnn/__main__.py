"""``python -m tinygrad_rnn`` does what ``tinygrad-rnn`` does."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
