"""The providers' protocols: requests as values, and answers read from any bytes at all."""
