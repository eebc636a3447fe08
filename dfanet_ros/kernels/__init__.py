"""Triton kernels for CUDA devices, and what each does in plain PyTorch.

Only this module and `plain` can be imported where Triton is not installed.
"""
