"""The control socket's language: Varlink framing, calls, and the messages; no I/O in here."""
