"""Values that store, engine and clients speak of; no I/O, no decisions."""
