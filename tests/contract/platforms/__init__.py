"""What every importer must do, and a server a platform that answers as the real one does."""
