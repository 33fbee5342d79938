"""What each method does, one file per thing.

Every handler takes a `Context` and its call, and returns its reply. A handler of a change runs
inside a transaction: it judges, writes, and returns; dispatch records, commits and applies.
"""
