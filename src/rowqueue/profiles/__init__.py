"""Ready mappings for five job systems, in their own words and on their own tables: import the one that you need."""
