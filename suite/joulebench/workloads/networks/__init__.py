"""Published networks in their CIFAR form: a stride-1 stem of 3×3, no early pooling, one linear head.

Written from the papers' descriptions, or torchvision's networks adapted. Each function takes the images' shape
(channels, height, width) and the number of classes, and keeps the paper's widths whatever those are.
"""
