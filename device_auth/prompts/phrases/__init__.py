"""The phrases of the speaker, a file for each language; read by :mod:`device_auth.prompts.wording`."""
