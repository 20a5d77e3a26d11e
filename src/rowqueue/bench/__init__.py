"""``rowqueue bench``: what your own server does, beside a plain loop of its driver on the same table.

Read in this order: ``run`` (the rounds), ``measures`` (what is measured), ``raw`` (the plain loops), ``worker`` and
``crew`` (processes that drain), ``place`` (tables of its own, removed at the end), ``report``.
"""
