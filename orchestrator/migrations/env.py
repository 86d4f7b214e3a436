"""What Alembic runs: the migrations on the connection that it was given, in that connection's transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
