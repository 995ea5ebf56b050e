"""What the board's own operators compute, as functions on integer arrays: one module an operator, whose docstring is
the definition that the C kernel is held to, to the bit. Operators of .tflite files are not here: LiteRT has theirs.
"""
