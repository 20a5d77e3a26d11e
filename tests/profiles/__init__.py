"""The five systems' own rules, on their own table shapes, in their own words."""
