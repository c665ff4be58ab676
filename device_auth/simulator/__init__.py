"""The simulated Amazon: its endpoints, its phone page, its referee."""
