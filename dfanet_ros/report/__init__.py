"""Reports: HTML pages of one file each, with plots and pictures inside, and their numbers as JSON.

The page and its plots need matplotlib and jinja2, which the node does without; the counting does not.
"""
