"""Finds out what is wrong with a speaker, and says what to do."""
