"""Tasks start warm: see likepion_provider/preload.py."""

import likepion_provider.preload  # noqa: F401 - for what it imports
