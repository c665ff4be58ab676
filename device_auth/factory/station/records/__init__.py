"""What a station keeps of each run, and of each DSN: its own file, the database of all stations, and what people read of them."""
