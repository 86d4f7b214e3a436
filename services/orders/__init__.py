"""Orders: takes them, decides go or no-go for each, and knows how far each has come."""
