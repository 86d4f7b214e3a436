"""Payments: what is held, taken and given back of customers' money."""
