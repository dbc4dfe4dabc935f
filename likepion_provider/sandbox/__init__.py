"""A manager, podcast sites and feeds on loopback."""
