"""What the speaker says, a file for each language; read by :mod:`device_auth.prompts.wording`."""
