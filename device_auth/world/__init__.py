"""The doors to the real world: HTTP, disk, clock, settings."""
