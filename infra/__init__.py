"""Templates, migrations and bundles: what is deployed, declared once."""
