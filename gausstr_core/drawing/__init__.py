"""Maps and pages for people, shared by the demo's page and the report of an evaluation."""
