"""What was seen, as one self-contained HTML file: no server, nothing fetched, printable."""
