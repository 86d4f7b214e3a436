"""Inventory: what lies in stock, and what is held of it for orders."""
