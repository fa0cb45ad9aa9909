"""Data sets, fine-tuning, and measuring what recognition is worth on clips and on streams.

Nothing heavy is imported with the package: the commands import torch and transformers when they run.
"""
