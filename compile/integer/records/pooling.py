"""Records of AVERAGE_POOL_2D, MAX_POOL_2D and the resizes."""
