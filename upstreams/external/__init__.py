"""Models of other libraries: the file NAME makes an upstream of whatever stands after NAME:"""
