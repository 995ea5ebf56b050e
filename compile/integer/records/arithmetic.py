"""Records of ADD, SUB, MUL, MEAN, SOFTMAX and tables."""
