"""The importers of this package: one file a platform."""
