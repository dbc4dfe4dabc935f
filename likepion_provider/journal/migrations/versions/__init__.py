"""Schema versions of the journal, applied by Alembic.

A revision that only adds (tables, indexes, columns that may be left out) says ``additive = True``: workers of the
versions before it go on with the newer journal, so that machines can be updated one after the other. Without that
word, they are refused.
"""
