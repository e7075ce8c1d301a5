"""Answers for people: tables and text, and the same as plain data; import the module that answers your question."""
