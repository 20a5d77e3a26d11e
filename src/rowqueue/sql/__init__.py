"""Tables, statements and migrations, built with SQLAlchemy Core; nothing here talks to a database."""
