"""The console's pages, each with its routes in `ROUTES`, and a template of the same name."""
