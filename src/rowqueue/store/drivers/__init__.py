"""One module for each driver: how it runs a statement, and what its errors mean."""
