"""`scripts/duel`: every order is driven by both styles at once.

duel    the duels, and what must hold after them; the suite runs it too, with fewer orders
"""
