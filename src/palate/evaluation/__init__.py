"""Did it learn the taste: held-out texts drawn, judged, measured, and put into one record."""
