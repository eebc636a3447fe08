"""Reports: HTML pages of one file each, with plots and pictures inside, and their numbers as JSON.

Nothing else of the package imports this one: it needs matplotlib and jinja2, which the node does without.
"""
