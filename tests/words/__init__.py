"""The catalogues of words: what they have to have, and how they are made (``make words``)."""
