"""A box of parts that knows nothing of accounts: lights, buttons, panels, voices, boards."""
