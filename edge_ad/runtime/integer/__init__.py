"""What a board computes, as functions on integer arrays: the definition that the C kernels are held to, to the bit."""
