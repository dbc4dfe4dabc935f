"""The importers of this package: one file per platform."""
