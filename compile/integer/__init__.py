"""The integer compiler: a full-INT8 .tflite file in, a model image for the board engine out.

read -> lower (operators/) -> plan (arena) -> image. The definition of every result is LiteRT's reference kernels.
"""
