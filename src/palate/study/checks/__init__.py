"""The doctor's checks: one module each, a pure function from a case to findings.  No torch here."""
