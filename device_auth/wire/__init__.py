"""What providers say, both ways: requests as values, and answers read from any bytes at all."""
