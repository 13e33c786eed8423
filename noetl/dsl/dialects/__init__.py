"""Older spellings (docs/reference/language.md, section 10), each rewritten or read into the same Structs."""
