"""The factory: what a unit does on the line, and the station that has it done and keeps the records."""
