"""`python -m sluicegate` is `sluicegate`."""

import sys

from sluicegate.cli import main

sys.exit(main())
