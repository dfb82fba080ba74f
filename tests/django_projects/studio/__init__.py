"""A project as many are: UUIDs, an address as the name, likes as generic relations, posts deleted softly."""
