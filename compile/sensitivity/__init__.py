"""Which layers of a network have to stay in higher precision, by what quantizing each does to the *score*."""
