"""Prompts: each tells a person the user code, and whether the link was made."""
