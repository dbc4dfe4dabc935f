"""``python -m likepion_provider.cli``."""

import sys

from likepion_provider.cli import main

sys.exit(main())
