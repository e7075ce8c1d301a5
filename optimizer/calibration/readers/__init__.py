"""Formats of benchmark tools, a module each: `NAME`, `recognises` a record, and the `runs` of a file's records."""
