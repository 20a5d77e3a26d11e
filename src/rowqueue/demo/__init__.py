"""``rowqueue demo``: turn real files into a searchable index, and survive a kill on the way.

Read in this order: ``run`` (the whole story), ``jobs`` (the handler), ``schema`` (the demo's own
tables), ``items``, ``parse``, ``crew`` (the worker processes), ``check``, ``search``, ``report``.
"""
