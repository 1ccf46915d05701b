"""Other tools' shapes of a data set, recognised by their fields and converted to palate's own."""
