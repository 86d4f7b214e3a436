"""The words of the command line: options, arguments and what is printed. What they do stands in `console`.

A command imports what it needs when it runs, so that `ensemble status` does not wait for SQLAlchemy.
"""
