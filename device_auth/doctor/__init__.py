"""Checks that find out what is wrong with a speaker, and what to do about it."""
