"""The loop that waits, steps the machine and carries its commands out."""
