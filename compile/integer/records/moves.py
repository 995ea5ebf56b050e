"""Records of shape operators: strided copies and fills."""
