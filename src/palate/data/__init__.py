"""What comes in: rows from files, and rows to token ids.  No torch here."""
