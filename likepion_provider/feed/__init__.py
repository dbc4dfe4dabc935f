"""Reading a podcast's feed: fetched safely, cut early, read by feedparser."""
