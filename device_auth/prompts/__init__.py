"""Ways of telling a person the user code and what became of it."""
