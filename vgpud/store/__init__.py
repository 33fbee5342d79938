"""The database: what should be, and what must not be forgotten. The only importer of sqlite3."""
