"""What the board's own operators compute, in NumPy: one module an operator, whose docstring is its definition.

Operators that a .tflite file knows are not here: theirs is LiteRT's reference kernel.
"""
